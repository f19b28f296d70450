"""The twelve numbers of the COCO detection challenge, computed by hotcoco.

They are those of pycocotools to the last bit. Difficult objects, which COCO does not have, are
ignored as in VOC and in training: they need not be detected, and what detects one is neither right
nor wrong.
"""

from collections.abc import Mapping, Sequence

import hotcoco
import numpy as np

from jaxdet import types
from jaxdet.metrics.align import align
from jaxdet.metrics.voc import RESAMPLES

MAIN = "AP"  # the number that decides which checkpoint is best
# Those that a recipe can choose instead.
NUMBERS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
NUMBERS += ("AR1", "AR10", "AR100", "ARs", "ARm", "ARl")

_AREAS = ("all", "small", "medium", "large")  # in pycocotools' order: all, < 32^2, < 96^2, rest
_IGNORED = 1e12  # square pixels, beyond every range of areas: such an object is ignored
_LEAST_IOU = 0.5


def evaluate(
    detections: Mapping[str, types.ImageDetections],
    annotations: Sequence[types.Annotation],
    classes: tuple[str, ...],
    *,
    max_detections: int = 100,
) -> dict:
    """Average precision and recall of the detections of a whole dataset, as COCO defines them.

    `detections` is keyed by annotation id; an image without an entry has no detections.
    `max_detections` is the number kept per image and class; the challenge uses 100, and any other
    number is a different protocol. Raises `ValueError` for ids or labels that are not those of the
    annotations, and if all objects are difficult or crowds.

    Returns `AP AP50 AP75 APs APm APl AR1 AR10 AR100 ARs ARm ARl` in 0..1 (`AR100` is named after
    `max_detections`), and `classes`: by name `AP`, `AP50` and `objects` (without crowds and
    difficult ones). A value is -1 if there is no object of that size or class, as in pycocotools.
    """
    if max_detections <= 10:
        raise ValueError(f"max_detections is {max_detections}, expected more than 10")
    # Sorted by id, numbers in numeric order: equal scores are ranked in the order of the images.
    annotations = sorted(annotations, key=lambda each: (len(each.id), each.id))
    kept = align(detections, annotations, classes)
    counted = [each.labels[~(each.crowd | each.difficult)] for each in annotations]
    objects = np.bincount(np.concatenate(counted), minlength=len(classes))
    if not objects.any():
        raise ValueError("nothing to evaluate: all objects are difficult or crowds")
    evaluator = _evaluator(kept, annotations, classes, max_detections)
    evaluator.accumulate()
    precision = evaluator.eval["precision"]  # [IoU threshold, recall, K, area, max_detections]
    recall = evaluator.eval["recall"]  # [IoU threshold, K, area, max_detections]
    return _twelve(precision, recall, max_detections) | {
        "classes": {
            name: {
                "AP": _mean(precision[:, :, label, 0, -1]),
                "AP50": _mean(precision[0, :, label, 0, -1]),
                "objects": int(objects[label]),
            }
            for label, name in enumerate(classes)
        }
    }


def bootstrap(
    detections: Mapping[str, types.ImageDetections],
    annotations: Sequence[types.Annotation],
    classes: tuple[str, ...],
    *,
    other: Mapping[str, types.ImageDetections] | None = None,
) -> dict[str, tuple[float, float]]:
    """The interval of 95 % of each of `NUMBERS` that is defined, by the bootstrap over images.

    It is `voc.bootstrap` for COCO's numbers, of 100 detections an image.
    """
    # hotcoco has intervals of differences: here to a detector that finds nothing, if to no other.
    subtracted, whole = (
        _evaluator(align(each, annotations, classes), annotations, classes, 100)
        for each in (other or {}, detections)
    )
    found = hotcoco.compare(subtracted, whole, n_bootstrap=RESAMPLES, seed=0, confidence=0.95)
    defined = [name for name in NUMBERS if found["metrics_b"][name] > -1]
    return {name: (found["ci"][name]["lower"], found["ci"][name]["upper"]) for name in defined}


def _evaluator(
    kept: Sequence[types.ImageDetections],
    annotations: Sequence[types.Annotation],
    classes: tuple[str, ...],
    max_detections: int,
) -> hotcoco.COCOeval:
    """Detections matched with objects; `kept` is in the order of `annotations`."""
    truth = _truth(annotations, kept, classes)
    evaluator = hotcoco.COCOeval(truth, truth.load_res(_results(kept)), "bbox")
    evaluator.params.max_dets = [1, 10, max_detections]
    evaluator.evaluate()
    return evaluator


def _twelve(precision: np.ndarray, recall: np.ndarray, max_detections: int) -> dict[str, float]:
    """Replaces `summarize`, which has names for 100 detections only."""
    numbers = {
        "AP": _mean(precision[:, :, :, 0, -1]),
        "AP50": _mean(precision[0, :, :, 0, -1]),
        "AP75": _mean(precision[5, :, :, 0, -1]),
    }
    for index, name in enumerate(_AREAS[1:], start=1):
        numbers[f"AP{name[0]}"] = _mean(precision[:, :, :, index, -1])
    for index, count in enumerate((1, 10, max_detections)):
        numbers[f"AR{count}"] = _mean(recall[:, :, 0, index])
    for index, name in enumerate(_AREAS[1:], start=1):
        numbers[f"AR{name[0]}"] = _mean(recall[:, :, index, -1])
    return numbers


def _mean(values: np.ndarray) -> float:
    """Mean of the valid values, -1 if there are none; pycocotools marks missing values with -1."""
    values = values[values > -1]
    return float(values.mean()) if values.size else -1.0


def _truth(
    annotations: Sequence[types.Annotation],
    detections: Sequence[types.ImageDetections],
    classes: tuple[str, ...],
) -> hotcoco.COCO:
    """The annotations as a COCO dataset, with images and categories numbered from 1."""
    rows = [_objects(*pair) for pair in zip(annotations, detections, strict=True)]
    boxes, labels, area, crowd = (np.concatenate(column) for column in zip(*rows, strict=True))
    counts = [len(labels) for _, labels, _, _ in rows]
    return hotcoco.COCO.from_arrays(
        [{"id": image} for image in range(1, len(annotations) + 1)],
        [{"id": label, "name": name} for label, name in enumerate(classes, start=1)],
        np.repeat(np.arange(1, len(rows) + 1), counts),
        labels.astype(np.int64) + 1,
        boxes,
        ids=np.arange(1, len(labels) + 1),  # a match with id 0 would be no match
        area=area,
        iscrowd=crowd,
    )


def _objects(
    truth: types.Annotation, detections: types.ImageDetections
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Boxes xywh [n, 4] in pixels, labels, areas and whether they are crowds, of one image.

    A difficult object occurs once for every detection that may match it, so that it absorbs them
    all, as in VOC; COCO's rule would take one.
    """
    size = np.array([truth.width, truth.height] * 2, np.float64)
    boxes = _xywh(truth.boxes * size)
    times = np.ones(len(boxes), int)
    difficult = truth.difficult & ~truth.crowd
    if difficult.any() and len(detections.labels):
        iou = hotcoco.mask.iou(_xywh(detections.boxes), boxes, [False] * len(boxes))
        same = detections.labels[:, None] == truth.labels[None]
        times = np.where(difficult, (same & (iou >= _LEAST_IOU)).sum(axis=0).clip(1), 1)
    area = np.where(difficult, _IGNORED, truth.area.astype(np.float64))
    columns = (boxes, truth.labels, area, truth.crowd)
    return tuple(np.repeat(column, times, axis=0) for column in columns)


def _results(detections: Sequence[types.ImageDetections]) -> np.ndarray:
    """The detections [D, 7]: number of the image, box xywh in pixels, score, class from 1."""
    images = np.repeat(np.arange(1, len(detections) + 1), [len(d.labels) for d in detections])
    boxes, scores, labels = (
        np.concatenate([getattr(each, name) for each in detections]).astype(np.float64)
        for name in ("boxes", "scores", "labels")
    )
    return np.column_stack([images, _xywh(boxes), scores, labels + 1])


def _xywh(boxes_pixels: np.ndarray) -> np.ndarray:
    boxes = np.asarray(boxes_pixels, np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def table(result: dict, protocol: str) -> str:
    """The result of `evaluate` as text; `protocol` describes how detections are made and kept."""
    numbers = {name: value for name, value in result.items() if name != "classes"}
    width = max(12, *(len(name) for name in result["classes"]))
    lines = [f"COCO, boxes, IoU 0.50 to 0.95, difficult objects ignored; {protocol}"]
    for half in (list(numbers)[:6], list(numbers)[6:]):
        lines.append("  ".join(f"{name:>6}" for name in half))
        lines.append("  ".join(f"{_percent(numbers[name]):>6}" for name in half))
    lines.append(f"{'class':{width}}  objects      AP    AP50")
    lines += [
        f"{name:{width}}  {each['objects']:7d}  {_percent(each['AP']):>6}  "
        f"{_percent(each['AP50']):>6}"
        for name, each in result["classes"].items()
    ]
    return "\n".join(lines)


def _percent(value: float) -> str:
    return "-" if value < 0 else f"{100 * value:.2f}"
