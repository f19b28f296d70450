"""Checks a recipe before you spend money on it: devices, data, memory, time, disk.

    python -m jaxdet.doctor --config=configs/ssd300_voc.py --workdir=runs/ssd300_voc

prints a table and exits with 1 where training would fail. Run it on the machine that will train.
Elsewhere --memory_gib=16 asks whether the recipe fits into a device of that size; the answer is an
estimate, since every kind of device has a compiler of its own.
"""

from jaxdet.training import allocator

if __name__ == "__main__":
    allocator.keep_freed()  # as training does, or its steps would look slower than they will be

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags

from jaxdet import build, cli, data
from jaxdet.engine import dataset_fit, setup, step_cost
from jaxdet.training import parallel
from jaxdet.types import Detector

MEMORY = flags.DEFINE_float("memory_gib", None, "Memory of a device, instead of what it says.")
STEPS = flags.DEFINE_bool("steps", True, "Time two real training steps.")

GIB = 2**30
SIDES = (8, 16, 32, 64, 128, 256)  # pixels, borders of the histogram


class Row(NamedTuple):
    """One line of the table."""

    check: str
    found: str
    fails: bool = False


def main() -> None:
    """Prints the table of the recipe that the flags name; exits with 1 where a check fails."""
    device_bytes = step_cost.device_bytes() if MEMORY.value is None else MEMORY.value * GIB
    rows = []
    for row in examine(
        cli.CONFIG.value, cli.WORKDIR.value, device_bytes=device_bytes, steps=STEPS.value
    ):
        rows.append(row)
        print(f"{'FAIL' if row.fails else 'ok':<4}  {row.check:<21}  {row.found}", flush=True)
    failed = [row.check for row in rows if row.fails]
    if failed:
        sys.exit(f"jaxdet: {len(failed)} of {len(rows)} checks fail: {', '.join(failed)}")


def examine(config: Any, workdir: str | None, *, device_bytes: float, steps: bool) -> Iterator[Row]:
    """All rows, as they are found; ValueError for a config that cannot work at all.

    `device_bytes` is the memory that a device may use; with `steps` two are run, and timed.
    """
    yield from device_rows(device_bytes)
    train_set, eval_set = setup.open_datasets(config)
    recipe, mesh = build.recipe(config, train_set.classes), parallel.mesh()
    setup.check_truth(recipe, eval_set)
    setup.check_numbers(recipe, mesh)  # before the images are waited for
    for dataset in (train_set, eval_set):
        for row in image_rows(dataset, recipe.data.canvas):
            steps = steps and not row.fails
            yield row
    yield from object_rows(recipe, train_set)
    first = step_cost.initial_state(recipe, mesh)
    yield disk_row(step_cost.checkpoint_bytes(first, keep=recipe.every.keep), workdir)
    compiled = step_cost.compile_step(recipe, first, mesh)
    row = memory_row(step_cost.step_bytes(compiled), device_bytes, recipe)
    yield row
    flops = step_flops(recipe.detector, recipe.data.batch_size)
    yield Row("operations of a step", f"{flops / 1e9:,.1f} GFLOP, of the network alone")
    if steps and not row.fails:
        batches = setup.train_batches(recipe, train_set)
        seconds = step_cost.step_seconds(compiled, first, batches, mesh)
        yield Row("time", time_found(len(train_set), recipe, seconds))
    else:
        yield Row("time", untimed_found(len(train_set), recipe, flops))


def device_rows(device_bytes: float) -> Iterator[Row]:
    """What there is to compute with."""
    kinds = sorted({device.device_kind for device in jax.devices()})
    found = f"{jax.device_count()} x {' and '.join(kinds)}, jax {jax.__version__}"
    yield Row("devices", f"{found}, {device_bytes / GIB:.2f} GiB of memory each")
    peaks = [f"{step_cost.PEAK[k] / 1e12:g}" if k in step_cost.PEAK else "unknown" for k in kinds]
    yield Row("peak of a device", f"{' and '.join(peaks)} TFLOP/s in bfloat16")


def image_rows(dataset: data.Dataset, canvas: int) -> Iterator[Row]:
    """Whether the images of a set can be read and its boxes make sense."""
    reasons, rate = dataset_fit.undecodable(dataset, canvas=canvas)
    found = f"{len(dataset):,} in {dataset.name}, {rate:,.0f} a second on this host"
    if reasons:
        first = "; ".join(f"{name}: {why}" for name, why in list(reasons.items())[:3])
        found = f"{len(reasons):,} of {found}, do not decode: {first}"
    yield Row("images decode", found, bool(reasons))
    illegal = dataset_fit.illegal_boxes(dataset)
    found = f"{len(illegal):,} in {dataset.name}"
    if illegal.any():
        first = dataset.ids[dataset.table.image_of_box()[illegal.argmax()]]
        found = f"{illegal.sum():,} of {found} are not, the first in {first}"
    yield Row("boxes legal", found, bool(illegal.any()))
    for part in dataset.parts:
        for reason, entry in part.problems.items():
            yield Row("skipped or repaired", f"{entry['count']:,} in {part.name}: {reason}")


def object_rows(recipe: build.Recipe, dataset: data.Dataset) -> Iterator[Row]:
    """What the training objects are, and how many the anchors miss."""
    detector, keep = recipe.detector, recipe.data.keep_difficult
    objects = dataset_fit.fit(detector, dataset, keep_difficult=keep)
    counts = np.bincount(objects.labels, minlength=len(dataset.classes))
    named = [f"{name} {n:,}" for name, n in zip(dataset.classes, counts, strict=True)]
    yield Row("objects by class", ", ".join(named))
    bins = np.histogram(np.sqrt(objects.sides.prod(axis=1)), [0, *SIDES, np.inf])[0]
    names = [f"under {SIDES[0]}", *[f"from {side}" for side in SIDES]]
    found = ", ".join(f"{name}: {n:,}" for name, n in zip(names, bins, strict=True))
    yield Row("objects by size", f"{found} (root of the area, pixels of {detector.size})")
    yield Row("objects without anchor", _share(~objects.assigned))
    match_iou = recipe.config["model"]["detector"].get("match_iou")
    if match_iou is not None:  # such an object still gets its best anchor, however bad
        yield Row(f"objects under IoU {match_iou}", _share(objects.best_iou < match_iou))


def _share(which: np.ndarray) -> str:
    return f"{which.sum():,} of {len(which):,} ({which.mean():.1%})"


def memory_row(needed: int, there: float, recipe: build.Recipe) -> Row:
    """Whether the compiled step fits into a device."""
    found = f"{needed / GIB:.3f} of {there / GIB:.3f} GiB a device, batch {recipe.data.batch_size}"
    if recipe.step.sizes:
        found += f", input of {max(recipe.step.sizes)}"
    return Row("memory", found, needed > there)


def step_flops(detector: Detector, batch_size: int) -> float:
    """Operations of a training step; its backward pass counts as two forward passes."""
    return 3 * 2 * step_cost.multiply_adds(detector) * batch_size


def time_found(images: int, recipe: build.Recipe, seconds: float) -> str:
    """What a step of so many seconds makes of an epoch of `images` and of the schedule."""
    rate = recipe.data.batch_size / seconds
    return (
        f"{seconds:.3f} s a step, {rate:,.1f} images/s; an epoch {_hours(images / rate)}, "
        f"{recipe.steps:,} steps {_hours(recipe.steps * seconds)}, "
        "without evaluations"
    )


def untimed_found(images: int, recipe: build.Recipe, flops: float) -> str:
    """The least time that steps of so many operations can take, where the peak is known."""
    peak = step_cost.PEAK.get(jax.devices()[0].device_kind)
    if peak is None:
        return "no step was run, and the peak of the device is not known"
    bound = time_found(images, recipe, flops / (peak * jax.device_count()))
    return f"no step was run; at the devices' peak, which no program reaches: {bound}"


def _hours(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def disk_row(needed: int, workdir: str | None) -> Row:
    """Whether the checkpoints fit beside what is on the disk of the workdir."""
    found = f"{needed / GIB:.2f} GiB of checkpoints"
    if workdir is None:
        return Row("disk", f"{found}; free space not looked at without --workdir")
    if "://" in workdir:
        return Row("disk", f"{found} in {workdir}, an object store")
    free = step_cost.free_bytes(Path(workdir).resolve())
    return Row("disk", f"{found}, {free / GIB:.2f} GiB free for {workdir}", needed > free)


if __name__ == "__main__":
    cli.run(main, required=["config"])
