"""Compares an exported file with the detector that it was made from, on a folder of images."""

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import jax
import numpy as np

from jaxdet import data
from jaxdet.augment import views
from jaxdet.engine.inference import Pretrained
from jaxdet.exports import contract, stablehlo
from jaxdet.metrics.voc import pairwise_iou
from jaxdet.training import progress
from jaxdet.types import Shape

LEAST_IOU, MOST_SCORE = 0.999, 1e-4  # with which a detection counts as found


@dataclasses.dataclass
class Difference:
    """What was compared, and the largest differences."""

    images: int = 0
    live: int = 0  # detections of the live detector
    exported: int = 0  # detections of the file
    found: int = 0  # of the live ones, those that the file has: label, box and score
    iou: float = 1.0  # the least of the found
    score: float = 0.0  # the largest difference of the found

    @property
    def equal(self) -> bool:
        """Whether the file finds what the live detector finds, and nothing else."""
        return self.live == self.exported == self.found

    def __str__(self) -> str:
        return (
            f"{self.images} images: {self.live} detections live, {self.exported} by the file, "
            f"{self.found} of them the same (same class, IoU > {LEAST_IOU}, score within "
            f"{MOST_SCORE:g}); least IoU {self.iou:.6f}, largest difference of scores "
            f"{self.score:.1e}"
        )


def runner(file: Path, format: str) -> Callable[[np.ndarray], tuple[np.ndarray, ...]]:
    """A function from images [B, H, W, 3] to what a file returns."""
    if format == "stablehlo":
        run, _ = stablehlo.runner(file)
        return lambda images: jax.device_get(run(images))
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {contract.INPUT: images})


def compare(
    pretrained: Pretrained,
    run: Callable[[np.ndarray], tuple[np.ndarray, ...]],
    folder: Path,
    *,
    shape: Shape,
    batch_size: int,
    dtype: str,
) -> Difference:
    """Runs both on the images of a folder, placed in the input as the model's `fit` says.

    ValueError if there is no image.
    """
    images, _ = data.images_in(folder)
    if not images:
        raise ValueError(f"--check={folder} has no image")
    detector, total = pretrained.detector, Difference()
    live = jax.jit(partial(contract.detections, detector))
    place = jax.jit(partial(_placed, fit=detector.fit, fill=detector.fill, output=min(shape)))
    for pixels, count in _batches(images, place, shape, batch_size, dtype):
        ours = jax.device_get(live(pretrained.variables, pixels))
        theirs = run(pixels)
        for one, other in list(zip(_each(ours), _each(theirs), strict=True))[:count]:
            _add(total, one, other)
    total.images = len(images)
    return total


def _placed(canvas: jax.Array, size: jax.Array, *, fit, fill, output) -> jax.Array:
    pixels, _ = views.eval_view(canvas, size, output=output, fit=fit, fill=fill)
    return pixels


def _batches(
    images: list[Path], place: Callable, shape: Shape, batch_size: int, dtype: str
) -> Iterator[tuple[np.ndarray, int]]:
    """Inputs of the network, and how many count: the last batch is filled up with copies."""
    canvas = (2 * shape[0], 2 * shape[1])
    for start in progress.bar(range(0, len(images), batch_size), unit="batch", desc="checking"):
        batch = []
        for path in images[start : start + batch_size]:
            image, *size = data.to_canvas(data.read_image(path), canvas)
            batch.append(np.asarray(place(image, np.array(size, np.int32).ravel())))
        count = len(batch)
        pixels = np.stack(batch + batch[-1:] * (batch_size - count))
        yield (pixels.round().astype(np.uint8) if dtype == "uint8" else pixels), count


def _each(found: tuple[np.ndarray, ...]) -> Iterator[tuple[np.ndarray, ...]]:
    """Boxes [n, 4], scores [n] and classes [n] of every image."""
    counts, boxes, scores, classes = found
    for i, (count,) in enumerate(counts):
        yield boxes[i, :count], scores[i, :count], classes[i, :count]


def _add(total: Difference, live: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> None:
    (boxes, scores, classes), (theirs, their_scores, their_classes) = live, other
    total.live += len(boxes)
    total.exported += len(theirs)
    if not len(boxes) or not len(theirs):
        return
    ious = pairwise_iou(boxes.astype(np.float64), theirs.astype(np.float64))
    ious = np.where((boxes[:, None] == theirs[None]).all(-1), 1.0, ious)  # also without an area
    apart = np.abs(scores[:, None] - their_scores[None])
    same = (classes[:, None] == their_classes[None]) & (ious > LEAST_IOU) & (apart < MOST_SCORE)
    total.found += int(same.any(1).sum())
    if same.any():
        best = np.where(same, ious, 0).max(1)[same.any(1)]
        total.iou = min(total.iou, float(best.min()))
        closest = np.where(same, apart, 1).min(1)[same.any(1)]
        total.score = max(total.score, float(closest.max()))
