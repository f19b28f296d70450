"""What data-parallel training costs on many chips, on paper: the tables of docs/scaling.md.

    python benchmarks/scaling.py

Operations and parameters are counted from the recipe, decoding speed is that measured on one CPU
core (benchmarks/results/cpu_2_cores.jsonl), the rest are Google's numbers for a v5e pod. The share
of its peak that a chip reaches is an assumption: change it with --share.
"""

import argparse
import json
import pathlib

import jax
from timing import read_recipe

from jaxdet import build, models

RESULTS = pathlib.Path(__file__).parent / "results" / "cpu_2_cores.jsonl"
CLASSES = 20
# cloud.google.com/tpu/docs/v5e: 197 TFLOP/s a chip in bfloat16, 51.2 TB/s all-reduce bandwidth in a
# pod of 256 chips (that is 200 GB/s a chip: four links of 400 Gbit/s).
PEAK = 197e12
REDUCE = 51.2e12 / 256
CHIPS_OF_HOST = (8, 4)  # a host has 8 chips; the VMs of larger slices see 4 of them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", default="configs/ssd300_voc.py")
    parser.add_argument("--chips", type=int, default=256)
    parser.add_argument("--share", type=float, default=0.4, help="of a chip's peak that is reached")
    options = parser.parse_args()
    config = read_recipe(options.config)
    recipe = Recipe(config)
    print(f"{options.config}: {recipe.parameters:,} parameters, {recipe.statistics:,} statistics,")
    print(f"{recipe.flops / 1e9:.0f} GFLOP a picture in a training step\n")
    print(table([batch_row(recipe, size, options) for size in sizes(options.chips)]))
    print(table([share_row(recipe, share) for share in (0.2, 0.4, 0.6, 0.8, 1.0)]))


class Recipe:
    """What a recipe's training step moves and computes."""

    def __init__(self, config):
        detector = build.detector(config, tuple(f"class {i}" for i in range(CLASSES)))
        shapes = jax.eval_shape(detector.init, jax.random.key(0))
        count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
        self.parameters, self.statistics = count(shapes["params"]), count(shapes.get("batch_stats"))
        # A multiplication and an addition, forwards and twice as much backwards.
        self.flops = 2 * 3 * models.multiply_adds(detector, shapes)
        self.canvas_bytes = config.data.canvas**2 * 3
        self.pictures_trained = config.schedule.steps * config.data.batch_size


def sizes(chips: int) -> list[int]:
    """Global batches, from one picture a chip to 32."""
    return [chips * 2**n for n in range(6)]


def reduce_seconds(recipe: Recipe, chips: int) -> float:
    """A ring all-reduce sends 2 (n - 1) / n times the bytes from every chip; all are float32."""
    sent = 2 * (chips - 1) / chips * 4 * (recipe.parameters + recipe.statistics)
    return sent / REDUCE


def batch_row(recipe: Recipe, batch: int, options) -> dict[str, str]:
    """The step of a global batch: the chips' time beside that of the all-reduce."""
    compute = recipe.flops * batch / options.chips / (options.share * PEAK)
    reduce = reduce_seconds(recipe, options.chips)
    steps = recipe.pictures_trained / batch
    return {
        "global batch": f"{batch:,}",
        "a chip": f"{batch // options.chips}",
        "compute, ms": f"{1e3 * compute:.2f}",
        "all-reduce, ms": f"{1e3 * reduce:.2f}",
        "ratio": f"{reduce / compute:.0%}",
        "pictures/s, hidden": f"{batch / max(compute, reduce):,.0f}",
        "not hidden": f"{batch / (compute + reduce):,.0f}",
        "steps": f"{steps:,.0f}",
    }


def share_row(recipe: Recipe, share: float) -> dict[str, str]:
    """What the input path must deliver where chips reach `share` of their peak."""
    decode, batches = measured("input_decode"), measured("input_batches")
    # All of a picture's time but the decoding is taken to hold Python's lock: one core's worth.
    locked = 1 / batches - 1 / decode
    rate = share * PEAK / recipe.flops
    row = {"share of peak": f"{share:.0%}", "pictures/s a chip": f"{rate:,.0f}"}
    for chips in CHIPS_OF_HOST:
        row[f"{chips} chips a host: pictures/s"] = f"{chips * rate:,.0f}"
        row[f"GB/s ({chips})"] = f"{chips * rate * recipe.canvas_bytes / 1e9:.2f}"
        row[f"cores that decode ({chips})"] = f"{chips * rate / batches:.1f}"
        row[f"share of the lock ({chips})"] = f"{chips * rate * locked:.0%}"
    return row


def measured(name: str) -> float:
    """Pictures a second on one core, as recorded."""
    (value,) = [
        line["value"]
        for line in map(json.loads, RESULTS.read_text().splitlines())
        if line["name"] == name and line["cores"] == 1
    ]
    return value


def table(rows: list[dict[str, str]]) -> str:
    """Rows as markdown."""
    lines = [list(rows[0]), ["---:"] * len(rows[0]), *[list(row.values()) for row in rows]]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


if __name__ == "__main__":
    main()
