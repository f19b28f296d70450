"""Check a recipe before you spend money on training: devices, data, memory, time, disk.

    python -m jaxdet.doctor --config=ssd300_voc --workdir=runs/ssd300_voc
    python -m jaxdet.doctor --config=ssd300_voc --memory_gib=16 --no-steps

prints a table, and exits with status 1 if training would fail. What is marked `warn` would train,
but hardly as meant, or could not be checked. Run it on the machine that will train. Elsewhere,
--memory_gib=16 checks whether the recipe fits a device with that much memory, but only as an
estimate, since each kind of device has its own compiler.
"""

from jaxdet.training import allocator

if __name__ == "__main__":
    allocator.keep_freed()  # as training does, or the steps timed here would be slower

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags

from jaxdet import build, cli, data
from jaxdet.convert.files import few
from jaxdet.engine import buckets, dataset_fit, setup, step_cost
from jaxdet.training import parallel
from jaxdet.types import Shape

MEMORY = flags.DEFINE_float(
    "memory_gib", None, "memory of a device in GiB, instead of what it reports"
)
STEPS = flags.DEFINE_bool("steps", True, "time two real training steps")

GIB = 2**30
SIDES = (8, 16, 32, 64, 128, 256)  # pixels, edges of the histogram
OK, WARN, FAIL = "ok", "warn", "FAIL"
UNMATCHED, FAR = 0.05, 0.5  # warned of: shares of objects without anchor, and with a poor one


class Row(NamedTuple):
    """One line of the table."""

    check: str
    found: str
    level: str = OK

    @property
    def fails(self) -> bool:
        """Whether training would fail for this."""
        return self.level == FAIL


def main() -> None:
    """Prints the table for the recipe in the flags; exits with status 1 if a check fails."""
    device_bytes = step_cost.device_bytes() if MEMORY.value is None else MEMORY.value * GIB
    rows = []
    for row in examine(
        cli.CONFIG.value, cli.WORKDIR.value, device_bytes=device_bytes, steps=STEPS.value
    ):
        rows.append(row)
        print(f"{row.level:<4}  {row.check:<21}  {row.found}", flush=True)
    warned = [row.check for row in rows if row.level == WARN]
    if warned:
        print(f"{len(warned)} of {len(rows)} checks warn: {', '.join(warned)}", flush=True)
    failed = [row.check for row in rows if row.fails]
    if failed:
        sys.exit(f"jaxdet: {len(failed)} of {len(rows)} checks fail: {', '.join(failed)}")


def examine(config: Any, workdir: str | None, *, device_bytes: float, steps: bool) -> Iterator[Row]:
    """Yields the rows of the table one by one; ValueError for an invalid config.

    `device_bytes` is the memory available on a device; with `steps`, two steps are run and timed.
    """
    yield from device_rows(device_bytes)
    setup.check(config)  # before the data, which may have to be downloaded
    train_set, eval_set = setup.open_datasets(config)
    config = build.with_steps(config, images=len(train_set))
    recipe, mesh = build.recipe(config, train_set.classes), parallel.mesh()
    setup.check_trained_on(recipe, train_set)
    setup.check_truth(recipe, eval_set)
    for dataset in (train_set, eval_set):
        for row in image_rows(dataset, recipe.data.canvases[-1]):
            steps = steps and not row.fails
            yield row
    yield from object_rows(recipe, train_set)
    first = step_cost.initial_state(recipe, mesh)
    yield disk_row(step_cost.checkpoint_bytes(first, keep=recipe.every.keep), workdir)
    compiled = step_cost.compile_step(recipe, first, mesh)
    row = memory_row(step_cost.step_bytes(compiled), device_bytes, recipe)
    yield row
    flops = step_flops(recipe)
    yield Row("operations per step", f"{flops / 1e9:,.1f} GFLOP, network only")
    if steps and not row.fails:
        batches = setup.train_batches(recipe, train_set)
        seconds = step_cost.step_seconds(compiled, first, batches, seed=recipe.seed, mesh=mesh)
        yield Row("time", describe_time(len(train_set), recipe, seconds))
    else:
        yield Row("time", describe_least_time(len(train_set), recipe, flops), WARN)


def device_rows(device_bytes: float) -> Iterator[Row]:
    """The devices, their memory and their peak speed."""
    kinds = sorted({device.device_kind for device in jax.devices()})
    found = f"{jax.device_count()} x {' and '.join(kinds)}, jax {jax.__version__}"
    yield Row("devices", f"{found}, {device_bytes / GIB:.2f} GiB of memory each")
    peaks = [f"{step_cost.PEAK[k] / 1e12:g}" if k in step_cost.PEAK else "unknown" for k in kinds]
    yield Row("peak per device", f"{' and '.join(peaks)} TFLOP/s in bfloat16")


def image_rows(dataset: data.Dataset, canvas: Shape) -> Iterator[Row]:
    """What `data.check` says of a prepared dataset, and what it said when it was prepared."""
    checked = dataset_fit.examine(dataset)
    reasons, rate = checked.undecodable, dataset_fit.decoding_rate(dataset, canvas=canvas)
    number, speed = f"{len(dataset):,} in {dataset.name}", f"{rate:,.0f} images/s on this host"
    found = f"{number}, {speed}"
    if reasons:
        first = "; ".join(f"{name}: {why}" for name, why in list(reasons.items())[:3])
        found = f"{len(reasons):,} of {number} cannot be decoded ({speed}): {first}"
    yield Row("images decode", found, FAIL if reasons else OK)
    illegal = dataset_fit.illegal_boxes(dataset)
    found = f"{len(illegal):,} in {dataset.name}"
    if illegal.any():
        first = dataset.ids[dataset.table.image_of_box()[illegal.argmax()]]
        found = f"{illegal.sum():,} of {found} are invalid, the first in {first}"
    yield Row("boxes valid", found, FAIL if illegal.any() else OK)
    sides = dataset_fit.sides(dataset)
    if (below := (sides < 0.99).any(axis=1)).any():
        found = f"{below.sum():,} of {len(below):,} in {dataset.name}: numbers in another unit?"
        yield Row("boxes below a pixel", found, WARN)
    if checked.unit:
        level = FAIL if checked.is_other_unit else WARN
        yield Row("unit of boxes", f"{dataset.name}: {checked.unit}", level)
    for reason, entry in checked.problems.items():
        first = ", ".join(entry["files"])
        yield Row("to repair", f"{entry['count']:,} in {dataset.name}: {reason}: {first}", WARN)
    for part in dataset.parts:
        for reason, entry in part.problems.items():
            yield Row("skipped or repaired", f"{entry['count']:,} in {part.name}: {reason}", WARN)


def object_rows(recipe: build.Recipe, dataset: data.Dataset) -> Iterator[Row]:
    """The training objects by class and by size, and how many the anchors miss."""
    detector, keep = recipe.detector, recipe.data.keep_difficult
    on = buckets.canvases(recipe, dataset.table.sizes)
    objects = dataset_fit.fit(detector, dataset, on, keep_difficult=keep)
    counts = np.bincount(objects.labels, minlength=len(dataset.classes))
    yield class_row(dataset, counts)
    yield number_row(recipe, dataset)
    bins = np.histogram(np.sqrt(objects.sides.prod(axis=1)), [0, *SIDES, np.inf])[0]
    names = [f"under {SIDES[0]}", *[f"from {side}" for side in SIDES]]
    found = ", ".join(f"{name}: {n:,}" for name, n in zip(names, bins, strict=True))
    yield Row(
        "objects by size",
        f"{found} (square root of the area, in pixels at input size {detector.size})",
    )
    yield _share_row("objects without anchor", ~objects.assigned, UNMATCHED)
    match_iou = recipe.config["model"]["detector"].get("match_iou")
    if match_iou is not None:  # these still get their best anchor, however poor
        yield _share_row(f"objects under IoU {match_iou}", objects.best_iou < match_iou, FAR)


def class_row(dataset: data.Dataset, counts: np.ndarray) -> Row:
    """The number of training objects of each class; a warning if there is none of some."""
    named = [f"{name} {n:,}" for name, n in zip(dataset.classes, counts, strict=True)]
    without = [name for name, n in zip(dataset.classes, counts, strict=True) if not n]
    if not without:
        return Row("objects by class", ", ".join(named))
    what = f"{len(without)} of {len(counts)} classes have none: {few(without, shown=5)}"
    return Row("objects by class", f"{', '.join(named)}; {what}", WARN)


def number_row(recipe: build.Recipe, dataset: data.Dataset) -> Row:
    """How many objects an image has, and how many of them `max_objects` leaves out."""
    used = dataset.table.trained_on(keep_difficult=recipe.data.keep_difficult)
    counts = np.bincount(dataset.table.image_of_box()[used], minlength=len(dataset))
    most, limit = counts.max(), recipe.data.max_objects
    left_out = (counts - limit).clip(min=0).sum()
    found = f"at most {most:,} in an image, config.data.max_objects is {limit}"
    if not left_out:
        return Row("objects per image", found)
    share = f"{left_out:,} of {counts.sum():,} ({left_out / counts.sum():.1%})"
    return Row("objects per image", f"{found}, which leaves out {share}, the smallest", WARN)


def _share_row(check: str, which: np.ndarray, most: float) -> Row:
    """How many objects have something; a warning if their share is above `most`."""
    found = f"{which.sum():,} of {len(which):,} ({which.mean():.1%})"
    if which.mean() <= most:
        return Row(check, found)
    hint = "too small, or of other shapes: see config.model.size and the anchors or scales of"
    return Row(check, f"{found}; {hint} config.model.detector, and jaxdet.anchors", WARN)


def memory_row(needed: int, available: float, recipe: build.Recipe) -> Row:
    """Whether the compiled training step fits in the memory of a device."""
    found = f"{needed / GIB:.3f} of {available / GIB:.3f} GiB per device"
    found += f", batch {recipe.data.batch_size}"
    if recipe.step.sizes:
        found += f", input size {max(recipe.step.sizes)}"
    return Row("memory", found, FAIL if needed > available else OK)


def step_flops(recipe: build.Recipe) -> float:
    """Operations of a training step; the backward pass counts as two forward passes."""
    shape = buckets.input_shapes(recipe)[-1]
    return 3 * 2 * step_cost.multiply_adds(recipe.detector, shape) * recipe.data.batch_size


def describe_time(images: int, recipe: build.Recipe, seconds: float) -> str:
    """The time of an epoch of `images` and of the whole schedule, from the seconds of a step."""
    rate = recipe.data.batch_size / seconds
    return (
        f"{seconds:.3f} s per step, {rate:,.1f} images/s; {_hours(images / rate)} per epoch, "
        f"{_hours(recipe.steps * seconds)} for {recipe.steps:,} steps, "
        "without evaluation"
    )


def describe_least_time(images: int, recipe: build.Recipe, flops: float) -> str:
    """The least possible time of training, from the operations of a step, if the peak is known."""
    peak = step_cost.PEAK.get(jax.devices()[0].device_kind)
    if peak is None:
        return "no step was run, and the peak of the device is unknown"
    bound = describe_time(images, recipe, flops / (peak * jax.device_count()))
    return f"no step was run; at the peak of the devices, which no program reaches: {bound}"


def _hours(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def disk_row(needed: int, workdir: str | None) -> Row:
    """Whether the checkpoints fit in the free space on the disk of the workdir."""
    found = f"{needed / GIB:.2f} GiB of checkpoints"
    if workdir is None:
        return Row("disk", f"{found}; free space is not checked without --workdir", WARN)
    if "://" in workdir:
        return Row("disk", f"{found} in {workdir}, an object store")
    free = step_cost.free_bytes(Path(workdir).resolve())
    return Row(
        "disk", f"{found}, {free / GIB:.2f} GiB free for {workdir}", FAIL if needed > free else OK
    )


if __name__ == "__main__":
    cli.run(main, required=["config"])
