"""What a TPU's compiler expects of a recipe's training step and inference, without a TPU.

    pip install -e ".[tpu]"
    python benchmarks/tpu.py --config=configs/mobilenet_v2_ssd320_voc.py --batch_size=32

libtpu compiles the programs for TPU v5e in minutes, without a TPU; nothing is run. Times are sums
of the compiler's own estimates, by which it optimises. It has none for sorts and for the gradient
of max pooling; of loops whose end depends on the data (mining, NMS) the time of a round is printed.
`--devices` takes up to four chips, which share the batch. The memory is that of each chip.
"""

import argparse
import os
import pathlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

# There is no TPU VM to query.
os.environ |= {"TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost"}
os.environ["TPU_ACCELERATOR_TYPE"] = "v5litepod-4"

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from timing import report

from jaxdet import backend, build, doctor, recipes
from jaxdet.engine import evaluate, step_cost
from jaxdet.training import state

CLASSES = 20
TOPOLOGY = "v5e:2x2"
KIND = "TPU v5e"
# cloud.google.com/tpu/docs/v5e: four units of 128 x 128 multiply-adds per cycle.
CYCLES_A_SECOND = step_cost.PEAK[KIND] / (4 * 128 * 128 * 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", required=True)
    parser.add_argument("--batch_size", type=int, default=32, help="of a device")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--dtype", default="bfloat16")
    options = parser.parse_args()

    jax.config.update("jax_platforms", "cpu")
    config = recipes.read(options.config)
    config.model.dtype = options.dtype
    config.data.batch_size = batch_size = options.batch_size * options.devices
    config.step.sizes = ()  # at the recipe's own size alone
    mesh = chips(options.devices)
    recipe = build.recipe(config, tuple(f"class {i}" for i in range(CLASSES)))
    for what, compiled in programs(recipe, mesh):
        name = f"{what}/{pathlib.Path(options.config).stem}"
        seconds, rounds, collectives = estimate(compiled.as_text())
        more = {"batch": batch_size, "dtype": options.dtype, "chips": f"{mesh.size} {KIND}"}
        work = {"collectives": collectives}
        if what == "train_step":
            flops = doctor.step_flops(recipe.detector, options.batch_size)
            work["share_of_peak"] = round(flops / seconds / step_cost.PEAK[KIND], 3)
        report(name, 1e3 * seconds, "ms, estimated", **more, **work)
        for each in rounds:
            report(f"{name}/loop", 1e3 * each, "ms per round, estimated", **more)
        report(name, step_cost.step_bytes(compiled) / 2**30, "GiB of a chip's memory", **more)


def chips(count: int) -> Mesh:
    """A mesh of chips that exist only for the compiler."""
    devices = topologies.get_topology_desc(platform="tpu", topology_name=TOPOLOGY).devices
    return Mesh(np.array(devices[:count]), ("data",))


def programs(recipe: build.Recipe, mesh: Mesh) -> Iterator[tuple[str, jax.stages.Compiled]]:
    """The training step, and inference from images to detections, traced and compiled for a TPU."""

    def first(key):
        variables = recipe.detector.init(key)
        return state.create(variables, recipe.optimiser, ema=recipe.step.ema_decay > 0)

    start = jax.eval_shape(first, jax.random.key(0))
    with backend.lowering_for("tpu"):
        compiled = step_cost.compile_step(recipe, start, mesh)
    yield "train_step", compiled
    with backend.lowering_for("tpu"):
        predict = evaluate.predict_step(recipe.detector, mesh)
        lowered = predict.lower(start.variables, step_cost.batch_shape(recipe.data))
    yield "predict", lowered.compile()


def compiled(function: Callable, *inputs: Any) -> jax.stages.Compiled:
    """A function of arrays, compiled for one chip."""
    everywhere = NamedSharding(chips(1), PartitionSpec())
    with backend.lowering_for("tpu"):
        shapes = jax.eval_shape(lambda *given: given, *inputs)
        step = jax.jit(function, in_shardings=everywhere, out_shardings=everywhere)
        return step.lower(*shapes).compile()


def estimate(program: str) -> tuple[float, list[float], dict[str, int]]:
    """Seconds outside loops, seconds per round of every loop, and the number of each collective.

    A loop with a known number of rounds is counted in full, outside the loops.
    """
    seconds, rounds = 0.0, []
    computations = dict(_computations(program))
    entry = computations.pop("ENTRY")
    for line in entry:
        seconds += _seconds(line)
        if loop := re.search(r" while\(.*body=(%[\w.-]+)", line):
            each = sum(map(_seconds, computations[loop[1]]))
            known = re.search(r'"known_trip_count":{"n":"(\d+)"', line)
            if known:
                seconds += each * int(known[1])
            else:
                rounds.append(each)
    found = re.findall(r" (all-reduce|all-gather|all-to-all|reduce-scatter)(?:-start)?\(", program)
    return seconds, rounds, dict(Counter(found))


def _computations(program: str) -> Iterator[tuple[str, list[str]]]:
    """The names and instructions of a program's functions; the main one is called ENTRY."""
    for block in re.split(r"\n(?=%|ENTRY)", program):
        head, *lines = block.splitlines()
        yield head.split()[0], lines


def _seconds(instruction: str) -> float:
    cycles = re.search(r'"estimated_cycles":"(\d+)"', instruction)
    return int(cycles[1]) / CYCLES_A_SECOND if cycles else 0.0


if __name__ == "__main__":
    main()
