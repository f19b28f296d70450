"""How well a detector fits a dataset: decodable images, valid boxes, matching anchors."""

import contextlib
import dataclasses
import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import jax
import numpy as np
from tqdm import tqdm

from jaxdet import data
from jaxdet.augment import window as window_
from jaxdet.boxes.iou import from_cxcywh, pairwise_iou
from jaxdet.training import progress
from jaxdet.types import Anchors, Array, Detector, Objects, Shape, Targets

_IMAGES = 64  # matched together


@dataclasses.dataclass(frozen=True)
class Fit:
    """The training objects [T] of a dataset, as seen in the evaluation view."""

    labels: np.ndarray  # [T] int32
    sides: np.ndarray  # [T, 2] width and height in pixels of the network's input
    best_iou: np.ndarray  # [T] with any anchor
    assigned: np.ndarray  # [T] bool, whether any anchor is assigned to the object


@dataclasses.dataclass(frozen=True)
class Examined:
    """What `data.check` finds in a prepared dataset."""

    undecodable: dict[str, str]  # id of an image -> why
    problems: data.Problems
    unit: str | None  # a sentence, if the boxes may be in another unit
    is_other_unit: bool  # whether they are


def examine(dataset: data.Dataset) -> Examined:
    """Checks every image with its valid boxes, on all cores, as when a dataset is prepared."""
    legal = ~illegal_boxes(dataset)
    unreadable: dict[str, str] = {}
    problems: data.Problems = {}
    seen = []

    def look(i: int) -> data.Checked:
        boxes = slice(*dataset.table.starts[i : i + 2])
        found = dataset.checked(i, keep=legal[boxes])
        bare = dataclasses.replace(found.example, encoded=None)  # or all files would be kept
        return dataclasses.replace(found, example=bare)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        each = pool.map(look, range(len(dataset)))
        for checked in progress.bar(
            each, desc=f"checking {dataset.name}", total=len(dataset), unit="image", leave=False
        ):
            if checked.annotation is None:
                unreadable[checked.example.id] = checked.problems[0]
            else:
                data.note(problems, checked)
                seen.append(checked)
    try:
        unit, wrong = data.look([each.example for each in seen], seen, "coco"), False
    except ValueError as error:
        unit, wrong = str(error), True
    return Examined(unreadable, problems, unit, wrong)


def decoding_rate(dataset: data.Dataset, *, canvas: Shape) -> float:
    """Images per second that are decoded onto a canvas, on all cores, of at most 500."""
    some = range(0, len(dataset), -(-len(dataset) // 500))

    def decode(i: int) -> None:
        with contextlib.suppress(ValueError):  # which `examine` reports
            data.decode(dataset.encoded(i), canvas)

    began = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(decode, some))
    return len(some) / (time.perf_counter() - began)


def illegal_boxes(dataset: data.Dataset) -> np.ndarray:
    """Which boxes [T] are not finite, empty, outside the image, or of an unknown class."""
    boxes, labels = dataset.table.boxes, dataset.table.labels
    with np.errstate(invalid="ignore"):
        legal = (boxes[:, :2] < boxes[:, 2:]).all(1) & (boxes >= 0).all(1) & (boxes <= 1).all(1)
    return ~(legal & (labels >= 0) & (labels < len(dataset.classes)))


def sides(dataset: data.Dataset) -> np.ndarray:
    """The width and height [T, 2] of all boxes in pixels of their own images."""
    boxes = dataset.table.boxes
    sizes = dataset.table.sizes[dataset.table.image_of_box()][:, ::-1]
    return (boxes[:, 2:] - boxes[:, :2]) * sizes


def fit(
    detector: Detector, dataset: data.Dataset, canvases: data.Canvases, *, keep_difficult: bool
) -> Fit:
    """How the anchors of `detector` match the objects used for training; no image is read."""
    table = dataset.table
    usable = table.trained_on(keep_difficult=keep_difficult)
    image, boxes, labels = (
        table.image_of_box()[usable],
        table.boxes[usable],
        table.labels[usable],
    )
    counts = np.bincount(image, minlength=len(dataset))
    slot = np.arange(len(boxes)) - (np.cumsum(counts) - counts)[image]
    batches = _batches(canvases, detector)
    batch_of, row_of = np.zeros((2, len(dataset)), int)  # by image
    for number, (ids, _) in enumerate(batches):
        batch_of[ids], row_of[ids] = number, np.arange(len(ids))
    of_batches = _grouped(batch_of[image], len(batches))
    match = jax.jit(partial(_match, detector), static_argnames="shape")
    best_iou, assigned = np.zeros(len(boxes), np.float32), np.zeros(len(boxes), bool)
    sides = np.zeros((len(boxes), 2), np.float32)
    bar = tqdm(batches, desc=f"matching {dataset.name}", unit="batch", leave=False)
    for (ids, shape), batch in zip(bar, of_batches, strict=True):
        place = (row_of[image[batch]], slot[batch])
        sizes = np.ones((_IMAGES, 2), np.int32)
        sizes[: len(ids)] = table.sizes[ids]
        objects = _padded(boxes[batch], labels[batch], place, (_IMAGES, counts.max()))
        seen = [np.asarray(x)[place] for x in match(sizes, objects, shape=shape)]
        sides[batch], best_iou[batch], assigned[batch] = seen
    return Fit(labels, sides, best_iou, assigned)


def _batches(canvases: data.Canvases, detector: Detector) -> list[tuple[np.ndarray, Shape]]:
    """The images, in batches that are seen in the same shape, and that shape."""
    groups = _grouped(canvases.of_image, len(canvases.shapes))
    return [
        (ids[start : start + _IMAGES], window_.input_shape(detector.size, detector.fit, canvas))
        for ids, canvas in zip(groups, canvases.shapes, strict=True)
        for start in range(0, len(ids), _IMAGES)
    ]


def _grouped(keys: np.ndarray, groups: int) -> list[np.ndarray]:
    """The indices into `keys` [n] of each of the keys 0 to groups - 1, rising."""
    ends = np.cumsum(np.bincount(keys, minlength=groups))
    return np.split(np.argsort(keys, kind="stable"), ends[:-1])


def _padded(boxes, labels, place, shape) -> Objects:
    """Objects [images, N] with boxes [n, 4] and labels [n] at the indices `place` ([n], [n])."""
    padded = Objects(
        boxes=np.zeros((*shape, 4), np.float32),
        labels=np.zeros(shape, np.int32),
        mask=np.zeros(shape, bool),
        weight=np.zeros(shape, np.float32),
    )
    padded.boxes[place], padded.labels[place] = boxes, labels
    padded.mask[place], padded.weight[place] = True, 1.0
    return padded


def _match(
    detector: Detector, size: Array, objects: Objects, *, shape: Shape
) -> tuple[Array, Array, Array]:
    """Sides [B, N, 2] in pixels of the views, best IoU [B, N], and whether an anchor is assigned
    [B, N]."""
    whole = partial(window_.uncropped_window, fit=detector.fit, shape=shape)
    objects = jax.vmap(window_.move_objects)(objects, jax.vmap(whole)(size))
    anchors, targets = detector.matched(objects, shape)
    best_iou, assigned = jax.vmap(partial(_of_image, anchors))(objects, targets)
    sides = (objects.boxes[..., 2:] - objects.boxes[..., :2]) * np.array([[shape[::-1]]])
    return sides, best_iou, assigned


def _of_image(anchors: Anchors, objects: Objects, targets: Targets) -> tuple[Array, Array]:
    same = (targets.boxes[None] == objects.boxes[:, None]).all(-1)  # [N, A]
    same &= targets.labels[None] == objects.labels[:, None]
    assigned = (same & targets.positive[None]).any(axis=1)
    iou = pairwise_iou(objects.boxes, from_cxcywh(anchors.boxes)).max(axis=1)
    return iou, assigned
