"""What a detector will make of a dataset: pictures that decode, boxes that are legal, their fit."""

import dataclasses
import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import jax
import numpy as np
from tqdm import tqdm

from jaxdet import boxes as boxes_
from jaxdet import data
from jaxdet import window as window_
from jaxdet.detectors.detector import Detector
from jaxdet.types import Anchors, Array, Objects

_PICTURES = 64  # looked at together


@dataclasses.dataclass(frozen=True)
class Fit:
    """The training objects [T] of a dataset as the evaluation view shows them."""

    labels: np.ndarray  # [T] int32
    sides: np.ndarray  # [T, 2] width and height in pixels of the network's input
    best_iou: np.ndarray  # [T] with any anchor
    owned: np.ndarray  # [T] bool, whether any anchor answers for the object


def undecodable(dataset: data.Dataset, *, canvas: int) -> tuple[dict[str, str], float]:
    """Decodes every picture, on all cores; why by id where that fails, and pictures a second."""

    def reason(i: int) -> str | None:
        try:
            data.decode(dataset.encoded(i), canvas)
        except ValueError as error:
            return str(error)
        return None

    began, text = time.perf_counter(), f"decoding {dataset.name}"
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        reasons = pool.map(reason, range(len(dataset)))
        bar = tqdm(reasons, desc=text, total=len(dataset), unit=" pictures", leave=False)
        found = {str(dataset.ids[i]): why for i, why in enumerate(bar) if why}
    return found, len(dataset) / (time.perf_counter() - began)


def illegal_boxes(dataset: data.Dataset) -> np.ndarray:
    """Which boxes [T] are not finite, empty, outside the picture, or of no known class."""
    boxes, labels = dataset.table.boxes, dataset.table.labels
    with np.errstate(invalid="ignore"):
        legal = (boxes[:, :2] < boxes[:, 2:]).all(1) & (boxes >= 0).all(1) & (boxes <= 1).all(1)
    return ~(legal & (labels >= 0) & (labels < len(dataset.classes)))


def fit(detector: Detector, dataset: data.Dataset, *, letterbox: bool, keep_difficult: bool) -> Fit:
    """How the anchors of `detector` meet the objects that training uses; no picture is read."""
    table = dataset.table
    usable = ~table.crowd & (keep_difficult | ~table.difficult)
    picture, boxes, labels = (
        table.picture_of_box()[usable],
        table.boxes[usable],
        table.labels[usable],
    )
    counts = np.bincount(picture, minlength=len(dataset))
    slot = np.arange(len(boxes)) - (np.cumsum(counts) - counts)[picture]
    anchors = detector.anchors_at(detector.size)
    look = jax.jit(jax.vmap(partial(_look, detector, anchors, letterbox)))
    best_iou, owned = np.zeros(len(boxes), np.float32), np.zeros(len(boxes), bool)
    sides = np.zeros((len(boxes), 2), np.float32)
    starts = range(0, len(dataset), _PICTURES)
    for start in tqdm(starts, desc=f"matching {dataset.name}", unit="batch", leave=False):
        mine = slice(*np.searchsorted(picture, [start, start + _PICTURES]))
        place = (picture[mine] - start, slot[mine])
        sizes = np.ones((_PICTURES, 2), np.int32)
        rows = table.sizes[start : start + _PICTURES]
        sizes[: len(rows)] = rows
        objects = _padded(boxes[mine], labels[mine], place, (_PICTURES, counts.max()))
        seen = [np.asarray(x)[place] for x in look(sizes, objects)]
        sides[mine], best_iou[mine], owned[mine] = seen
    return Fit(labels, sides * detector.size, best_iou, owned)


def _padded(boxes, labels, place, shape) -> Objects:
    """Objects [pictures, N] of boxes [n, 4] and labels [n] at `place`, two arrays [n]."""
    padded = Objects(
        boxes=np.zeros((*shape, 4), np.float32),
        labels=np.zeros(shape, np.int32),
        mask=np.zeros(shape, bool),
        weight=np.zeros(shape, np.float32),
    )
    padded.boxes[place], padded.labels[place] = boxes, labels
    padded.mask[place], padded.weight[place] = True, 1.0
    return padded


def _look(
    detector: Detector, anchors: Anchors, letterbox: bool, size: Array, objects: Objects
) -> tuple[Array, Array, Array]:
    """Sides [N, 2] in the view of one picture, best IoU [N], and which have an anchor [N]."""
    window = window_.letterbox_window(size) if letterbox else window_.whole_window()
    objects = window_.move_objects(objects, window)
    targets = detector.assign(anchors, objects)
    same = (targets.boxes[None] == objects.boxes[:, None]).all(-1)  # [N, A]
    same &= targets.labels[None] == objects.labels[:, None]
    owned = (same & targets.positive[None]).any(axis=1)
    iou = boxes_.pairwise_iou(objects.boxes, boxes_.from_cxcywh(anchors.boxes)).max(axis=1)
    return objects.boxes[:, 2:] - objects.boxes[:, :2], iou, owned
