"""Compares an exported file with the detector that it was made from, on a folder of images."""

import dataclasses
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import jax
import numpy as np

from jaxdet import build, data
from jaxdet.engine.inference import Pretrained
from jaxdet.exports import contract
from jaxdet.exports.predictor import Exported
from jaxdet.metrics.voc import pairwise_iou
from jaxdet.training import progress

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


def compare(
    pretrained: Pretrained, exported: Exported, folder: Path, *, batch_size: int
) -> Difference:
    """Runs both on the images of a folder, placed in the input as the model's `fit` says.

    ValueError if there is no image.
    """
    images, _ = data.images_in(folder)
    if not images:
        raise ValueError(f"--check={folder} has no image")
    recipe = build.with_evaluation(pretrained.recipe, {"nms": exported.about["nms"]})
    live, total = jax.jit(partial(contract.detections, recipe.detector)), Difference()
    for pixels, count in _batches(images, exported, batch_size):
        ours = jax.device_get(live(pretrained.variables, pixels))
        theirs = jax.device_get(exported.detections(pixels))
        for one, other in list(zip(_each(ours), _each(theirs), strict=True))[:count]:
            _add(total, one, other)
    total.images = len(images)
    return total


def _batches(
    images: list[Path], exported: Exported, batch_size: int
) -> Iterator[tuple[np.ndarray, int]]:
    """Inputs of the network, and how many count: the last batch is filled up with copies."""
    for start in progress.bar(range(0, len(images), batch_size), unit="batch", desc="checking"):
        batch = [data.read_image(path) for path in images[start : start + batch_size]]
        count = len(batch)
        yield exported.placed(batch + batch[-1:] * (batch_size - count)), count


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
