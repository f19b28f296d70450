"""Many devices and processes: the batch is split over the devices, the variables replicated."""

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
    """Connects the processes of a run, if there are several; call it before any other use of JAX.

    Args:
      coordinator: HOST:PORT on which process 0 listens.
      num_processes: number of processes in the run.
      process_id: number of this process, from 0.

    Without any of them they are taken from a TPU VM, SLURM (several tasks under srun) or Open MPI
    (several under mpirun); for the latter two JAX_COORDINATOR_ADDRESS replaces the coordinator.
    ValueError if only some are given.
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
    """Whether srun or mpirun started this process together with others.

    False for a single task: JAX would give it one GPU of the node instead of all.
    """
    in_step = "SLURM_STEP_NODELIST" in environment  # unset in the batch script itself
    tasks = environment.get("SLURM_NTASKS") if in_step else None
    # mpirun first: in a SLURM job it starts its own daemons with srun, one on each other node.
    return int(environment.get("OMPI_COMM_WORLD_SIZE") or tasks or 1) > 1


def open_mpi_5(environment: Any) -> tuple:
    """Coordinator, number of processes, number of this one and its GPU under Open MPI 5.

    Empty otherwise: JAX then detects them itself, as it knows Open MPI 4 (and 5 only with mpi4py).
    As there, process 0 is assumed to run on mpirun's host, which is part of the job's name.
    """
    job = re.fullmatch(r"prterun-(.+)-(\d+)@\d+", environment.get("PMIX_NAMESPACE", ""))
    if job is None:
        return ()
    host, mpirun = job[1], int(job[2])
    address = f"{host}:{61440 + mpirun % 4096}"  # JAX's range of ports, and its variable
    ours = (environment[f"OMPI_COMM_WORLD_{name}"] for name in ("SIZE", "RANK", "LOCAL_RANK"))
    return environment.get("JAX_COORDINATOR_ADDRESS", address), *map(int, ours)


def _on_tpu_vm() -> bool:
    """Whether there are TPU chips and libtpu; a TPU VM knows the other VMs of its pod."""
    chips = glob.glob("/dev/accel[0-9]*") or glob.glob("/dev/vfio/[0-9]*")
    wanted = "tpu" in (jax.config.jax_platforms or "tpu")
    return wanted and bool(chips) and importlib.util.find_spec("libtpu") is not None


def is_first() -> bool:
    """Whether this is process 0, the one that prints and writes."""
    return jax.process_index() == 0


def gather(rows: np.ndarray) -> np.ndarray:
    """The rows of all processes, concatenated; every process must call it."""
    return multihost_utils.process_allgather(rows, tiled=True)


def mesh() -> Mesh:
    """A mesh of the devices of all processes along one axis, "data", ordered by process.

    In this order the batches of the processes, concatenated, are the global batch. Not
    `jax.make_mesh`: its Explicit axes reject the reshapes in the heads.
    """
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    return Mesh(np.array(devices), ("data",))


def pmap(step: Callable, mesh: Mesh, *, donate: bool = False, replicated: int = 0) -> Callable:
    """Maps `step(state, batch, ...) -> (state, output)` over the devices of `mesh`.

    It replaces `jax.pmap` with one program over global arrays. The state is replicated, the
    batch and the output's leading axes are global, and a sum over the batch is a sum over devices,
    so there are no collectives to write. With `donate` the state's memory is reused.
    `replicated` is the number of arguments after the batch, the same on every device.
    """
    everywhere, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, _BATCH)
    return jax.jit(
        step,
        in_shardings=(everywhere, split, *[everywhere] * replicated),
        out_shardings=everywhere,
        donate_argnums=(0,) if donate else (),
    )


_BATCH = PartitionSpec("data")


def shard_batch(batch: Any, mesh: Mesh) -> Any:
    """Turns this process's share of a batch into global arrays split over the devices."""
    sharding = NamedSharding(mesh, _BATCH)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def norm_in_groups(groups: int):
    """A context in which every BatchNorm normalises `groups` parts of the batch separately.

    With as many groups as devices, BatchNorm is not synchronised across devices.
    """

    def intercept(call, args, kwargs, context):
        if isinstance(context.module, BatchNorm) and context.method_name == "__call__":
            kwargs = {**kwargs, "groups": groups}
        return call(*args, **kwargs)

    return nn.intercept_methods(intercept)


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Copies `tree` to every device."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def check_batch_size(batch_size: int, mesh: Mesh, *, key: str, micro_batches: int = 1) -> None:
    """ValueError unless every micro-batch of `batch_size` divides evenly among the devices."""
    if micro_batches < 1:
        raise ValueError(f"{key} is split into {micro_batches} micro-batches, expected at least 1")
    parts = mesh.size * micro_batches
    if batch_size < 1 or batch_size % parts:
        raise ValueError(
            f"{key} is {batch_size}, expected a positive multiple of {parts} "
            f"({mesh.size} devices x {micro_batches} micro-batches)"
        )
