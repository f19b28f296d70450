"""What data-parallel training on many chips costs, on paper: the tables of docs/scaling.md.

    python benchmarks/scaling.py

Operations and parameters are counted from the recipe, the decoding speed was measured on one CPU
core (benchmarks/results/cpu_2_cores.jsonl), and the rest are Google's numbers for a v5e pod. The
share of its peak that a chip reaches is an assumption: change it with --share.
"""

import argparse
import json
import pathlib

import jax

from jaxdet import build, recipes
from jaxdet.engine import step_cost

RESULTS = pathlib.Path(__file__).parent / "results" / "cpu_2_cores.jsonl"
CLASSES = 20
# cloud.google.com/tpu/docs/v5e: 197 TFLOP/s per chip in bfloat16, 51.2 TB/s all-reduce bandwidth in
# a pod of 256 chips (that is 200 GB/s per chip: four links of 400 Gbit/s).
PEAK = 197e12
REDUCE = 51.2e12 / 256
CHIPS_OF_HOST = (8, 4)  # a host has 8 chips; the VMs of larger slices see 4 of them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", default="configs/ssd300_voc.py")
    parser.add_argument("--chips", type=int, default=256)
    parser.add_argument("--share", type=float, default=0.4, help="of a chip's peak that is reached")
    options = parser.parse_args()
    config = recipes.read(options.config)
    work = Work(build.recipe(config, tuple(f"class {i}" for i in range(CLASSES))))
    print(f"{options.config}: {work.parameters:,} parameters, {work.statistics:,} statistics,")
    print(f"{work.flops / 1e9:.0f} GFLOP per image in a training step\n")
    print(table([batch_row(work, size, options) for size in sizes(options.chips)]))
    print(table([share_row(work, share) for share in (0.2, 0.4, 0.6, 0.8, 1.0)]))


class Work:
    """What a recipe's training step computes and sends."""

    def __init__(self, recipe: build.Recipe):
        shapes = jax.eval_shape(recipe.detector.init, jax.random.key(0))
        count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
        self.parameters, self.statistics = count(shapes["params"]), count(shapes.get("batch_stats"))
        # A multiplication and an addition, forwards and twice as much backwards.
        self.flops = 2 * 3 * step_cost.multiply_adds(recipe.detector, (recipe.detector.size,) * 2)
        self.canvas_bytes = recipe.data.canvas**2 * 3
        self.images_trained = recipe.steps * recipe.data.batch_size


def sizes(chips: int) -> list[int]:
    """Global batches, from one image per chip to 32."""
    return [chips * 2**n for n in range(6)]


def reduce_seconds(work: Work, chips: int) -> float:
    """A ring all-reduce sends 2 (n - 1) / n times the bytes from every chip; all are float32."""
    sent = 2 * (chips - 1) / chips * 4 * (work.parameters + work.statistics)
    return sent / REDUCE


def batch_row(work: Work, batch: int, options) -> dict[str, str]:
    """The step of a global batch: the time of the chips and that of the all-reduce."""
    compute = work.flops * batch / options.chips / (options.share * PEAK)
    reduce = reduce_seconds(work, options.chips)
    steps = work.images_trained / batch
    return {
        "global batch": f"{batch:,}",
        "per chip": f"{batch // options.chips}",
        "compute, ms": f"{1e3 * compute:.2f}",
        "all-reduce, ms": f"{1e3 * reduce:.2f}",
        "ratio": f"{reduce / compute:.0%}",
        "images/s, hidden": f"{batch / max(compute, reduce):,.0f}",
        "not hidden": f"{batch / (compute + reduce):,.0f}",
        "steps": f"{steps:,.0f}",
    }


def share_row(work: Work, share: float) -> dict[str, str]:
    """What the input path must deliver if chips reach `share` of their peak."""
    decode, batches = measured("input_decode"), measured("input_batches")
    # Everything but decoding is assumed to hold Python's lock, which is one core's worth.
    locked = 1 / batches - 1 / decode
    rate = share * PEAK / work.flops
    row = {"share of peak": f"{share:.0%}", "images/s per chip": f"{rate:,.0f}"}
    for chips in CHIPS_OF_HOST:
        row[f"{chips} chips per host: images/s"] = f"{chips * rate:,.0f}"
        row[f"GB/s ({chips})"] = f"{chips * rate * work.canvas_bytes / 1e9:.2f}"
        row[f"cores that decode ({chips})"] = f"{chips * rate / batches:.1f}"
        row[f"share of the lock ({chips})"] = f"{chips * rate * locked:.0%}"
    return row


def measured(name: str) -> float:
    """Images per second on one core, as recorded."""
    (value,) = [
        line["value"]
        for line in map(json.loads, RESULTS.read_text().splitlines())
        if line["name"] == name and line["cores"] == 1
    ]
    return value


def table(rows: list[dict[str, str]]) -> str:
    """The rows as a markdown table."""
    lines = [list(rows[0]), ["---:"] * len(rows[0]), *[list(row.values()) for row in rows]]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


if __name__ == "__main__":
    main()
