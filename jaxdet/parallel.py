"""Many devices: the batch is split over them, the variables are on each."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def mesh() -> Mesh:
    """All devices of all processes along one axis, "data".

    Not `jax.make_mesh`: its Explicit axes refuse the reshapes of the heads.
    """
    return Mesh(np.array(jax.devices()), ("data",))


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
