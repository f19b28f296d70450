"""What a training step costs on this machine: memory, operations, time, disk."""

import dataclasses
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.typing import DTypeLike

from jaxdet import backend, build
from jaxdet.engine import init_from
from jaxdet.training import parallel, state
from jaxdet.types import Batch, Detector, Objects, Shape

# FLOP/s of a JAX device, dense bfloat16 (float16 on T4 and V100, which have no bfloat16).
# Sources: cloud.google.com/tpu/docs/v4, /v5e, /v5p and /v6e; NVIDIA's data sheets of these GPUs.
PEAK = {
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5": 459e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
    "TPU v6e": 918e12,
    "Tesla T4": 65e12,
    "Tesla V100-SXM2-16GB": 125e12,
    "Tesla V100-SXM2-32GB": 125e12,
    "NVIDIA L4": 121e12,
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100 80GB PCIe": 312e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H200": 989e12,
}
_BEYOND_KEPT = 2  # checkpoints on disk besides the newest: the best, and the one being written


def device_bytes() -> float:
    """The memory available to a program on each device; CPU devices share the host's."""
    stats = jax.local_devices()[0].memory_stats()
    if stats:
        return stats["bytes_limit"]
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return host / jax.local_device_count()


def initial_state(recipe: build.Recipe, mesh: Mesh) -> state.TrainState:
    """The state before the first step, on every device."""
    variables = init_from.initial_variables(recipe, recipe.init_from)
    first = state.create(variables, recipe.optimiser, ema=recipe.step.ema_decay > 0)
    return parallel.replicate(first, mesh)


def compile_step(recipe: build.Recipe, first: state.TrainState, mesh: Mesh) -> jax.stages.Compiled:
    """Compiles the training step at its most expensive: the largest input, nothing frozen.

    ValueError if the batch does not divide evenly among the devices.
    """
    parallel.check_batch_size(
        recipe.data.batch_size,
        mesh,
        key="config.data.batch_size",
        micro_batches=recipe.step.accumulate,
    )
    step = recipe.step
    largest = dataclasses.replace(step, sizes=(max(step.sizes),) if step.sizes else ())
    program = dataclasses.replace(recipe, step=largest).programs(mesh)(step.unfreeze_at + 1)
    return program.lower(first, batch_shape(recipe.data), np.uint32(recipe.seed)).compile()


def batch_shape(data: build.Data) -> Batch:
    """The shapes and dtypes of a training batch on the largest canvas, to compile a step for."""
    canvas, max_objects = data.canvases[-1], data.max_objects

    def shape(*sides: int, dtype: DTypeLike) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((data.batch_size, *sides), dtype)

    return Batch(
        image=shape(*canvas, 3, dtype=np.uint8),
        size=shape(2, dtype=np.int32),
        objects=Objects(
            boxes=shape(max_objects, 4, dtype=np.float32),
            labels=shape(max_objects, dtype=np.int32),
            mask=shape(max_objects, dtype=bool),
            weight=shape(max_objects, dtype=np.float32),
        ),
        id=shape(dtype=np.int32),
        valid=shape(dtype=bool),
    )


def multiply_adds(detector: Detector, shape: Shape) -> float:
    """Multiply-adds of network and decoding for one input, without products with padding."""
    variables = jax.eval_shape(detector.init, jax.random.key(0))
    pixels = jax.ShapeDtypeStruct((1, *shape, 3), jnp.float32)
    with backend.lowering_for("portable"):  # the forms for a CPU have fewer
        lowered = jax.jit(lambda v, x: detector.forward(v, x)).lower(variables, pixels)
        return lowered.cost_analysis()["flops"] / 2


def step_bytes(compiled: jax.stages.Compiled) -> int:
    """The memory a compiled step takes on each device: state, batch, intermediate results."""
    memory = compiled.memory_analysis()
    arguments = memory.argument_size_in_bytes + memory.output_size_in_bytes
    arguments -= memory.alias_size_in_bytes  # donated buffers count as both
    return arguments + memory.temp_size_in_bytes + memory.generated_code_size_in_bytes


def step_seconds(
    compiled: jax.stages.Compiled,
    first: state.TrainState,
    batches: Iterator[Batch],
    *,
    seed: int,
    mesh: Mesh,
) -> float:
    """The time of the faster of two real steps from `first` (donated), without reading batches."""
    times = []
    for _ in range(2):
        batch = parallel.shard_batch(next(batches), mesh)
        jax.block_until_ready(batch)
        began = time.perf_counter()
        first, scalars = compiled(first, batch, np.uint32(seed))
        jax.block_until_ready((first, scalars))
        times.append(time.perf_counter() - began)
    return min(times)


def checkpoint_bytes(first: state.TrainState, *, keep: int) -> int:
    """The most that the checkpoints of a run take on disk, uncompressed."""
    one = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(first))
    return one * (keep + _BEYOND_KEPT)


def free_bytes(workdir: Path) -> int:
    """The free bytes on the disk where `workdir` is or will be."""
    there = next(path for path in [workdir, *workdir.parents] if path.exists())
    return shutil.disk_usage(there).free
