"""Many devices and many processes: the batch is split over them, the variables are on each."""

import glob
import importlib.util
import os
import re
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxdet.layers.norms import BatchNorm


def initialise(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Joins the processes that train together, where there are several; before any use of JAX.

    Args:
      coordinator: HOST:PORT, where process 0 is to listen.
      num_processes: of the whole run.
      process_id: this one's number, from 0.

    Without any of them, a TPU VM, SLURM (several tasks under srun) and Open MPI (several under
    mpirun) say the same; for the latter two JAX_COORDINATOR_ADDRESS replaces the first. ValueError
    where only some are given.
    """
    given = (coordinator, num_processes, process_id)
    if None not in given:
        jax.distributed.initialize(*given)
    elif given != (None, None, None):
        raise ValueError(
            "--coordinator, --num_processes and --process_id belong together, found "
            f"{coordinator}, {num_processes}, {process_id}"
        )
    elif started_with_others(os.environ) or _on_tpu_vm():
        jax.distributed.initialize(*open_mpi_5(os.environ))


def started_with_others(environment: Any) -> bool:
    """Whether srun or mpirun started this process with others.

    A lone task is left alone: JAX would give it one GPU of the node instead of all.
    """
    in_step = "SLURM_STEP_NODELIST" in environment  # not so in the batch script itself
    tasks = environment.get("SLURM_NTASKS") if in_step else None
    # mpirun goes first: in a SLURM job it starts its own daemons by srun, one on each other node.
    return int(environment.get("OMPI_COMM_WORLD_SIZE") or tasks or 1) > 1


def open_mpi_5(environment: Any) -> tuple:
    """Coordinator, number of processes, this one's number and its GPU, if Open MPI 5 says them.

    Else nothing, and JAX finds them by itself: it knows Open MPI 4 (and 5 only through mpi4py). As
    there, process 0 is taken to run where mpirun does; the name of the job has that host.
    """
    job = re.fullmatch(r"prterun-(.+)-(\d+)@\d+", environment.get("PMIX_NAMESPACE", ""))
    if job is None:
        return ()
    host, mpirun = job[1], int(job[2])
    address = f"{host}:{61440 + mpirun % 4096}"  # JAX's range of ports, and its variable
    ours = (environment[f"OMPI_COMM_WORLD_{name}"] for name in ("SIZE", "RANK", "LOCAL_RANK"))
    return environment.get("JAX_COORDINATOR_ADDRESS", address), *map(int, ours)


def _on_tpu_vm() -> bool:
    """Whether there are TPU chips, and the package to use them; a VM knows of its pod's others."""
    chips = glob.glob("/dev/accel[0-9]*") or glob.glob("/dev/vfio/[0-9]*")
    wanted = "tpu" in (jax.config.jax_platforms or "tpu")
    return wanted and bool(chips) and importlib.util.find_spec("libtpu") is not None


def is_first() -> bool:
    """Whether this is process 0, the one that prints and writes."""
    return jax.process_index() == 0


def gather(rows: np.ndarray) -> np.ndarray:
    """The rows of all processes, one after another; every process must ask."""
    return multihost_utils.process_allgather(rows, tiled=True)


def mesh() -> Mesh:
    """All devices of all processes along one axis, "data", process after process.

    In this order the batches of the processes, put one after another, are the global batch. Not
    `jax.make_mesh`: its Explicit axes refuse the reshapes of the heads.
    """
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    return Mesh(np.array(devices), ("data",))


def pmap(step: Callable, mesh: Mesh, *, donate: bool = False) -> Callable:
    """Maps `step(state, batch) -> (state, output)` over the devices of `mesh`.

    This is what `jax.pmap` became: one program over global arrays. The state is replicated, the
    batch and the output's leading axes are global, and a sum over the batch is a sum over devices,
    so there are no collectives to write. With `donate` the state's memory is reused.
    """
    everywhere, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, _BATCH)
    return jax.jit(
        step,
        in_shardings=(everywhere, split),
        out_shardings=everywhere,
        donate_argnums=(0,) if donate else (),
    )


_BATCH = PartitionSpec("data")


def shard_batch(batch: Any, mesh: Mesh) -> Any:
    """This process's share of a batch, as global arrays split over the devices."""
    sharding = NamedSharding(mesh, _BATCH)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def norm_in_groups(groups: int):
    """A context in which every BatchNorm normalises `groups` parts of the batch separately.

    With as many groups as devices, BatchNorm is not synchronised over them.
    """

    def intercept(call, args, kwargs, context):
        if isinstance(context.module, BatchNorm) and context.method_name == "__call__":
            kwargs = {**kwargs, "groups": groups}
        return call(*args, **kwargs)

    return nn.intercept_methods(intercept)


def replicate(tree: Any, mesh: Mesh) -> Any:
    """`tree` on every device."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def check_batch_size(batch_size: int, mesh: Mesh, *, key: str, micro_batches: int = 1) -> None:
    """ValueError unless the devices can share every micro-batch of `batch_size` equally."""
    if micro_batches < 1:
        raise ValueError(f"{key} is split into {micro_batches} micro-batches, expected at least 1")
    parts = mesh.size * micro_batches
    if batch_size < 1 or batch_size % parts:
        raise ValueError(
            f"{key} is {batch_size}, expected a positive multiple of {parts} "
            f"({mesh.size} devices x {micro_batches} micro-batches)"
        )
