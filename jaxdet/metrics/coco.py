"""The twelve numbers of the COCO detection challenge, computed by pycocotools."""

import contextlib
import io
from collections.abc import Mapping, Sequence

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from jaxdet import types
from jaxdet.metrics.align import align

MAIN = "AP"  # the number that decides which checkpoint is best
# Those that a recipe can choose instead.
NUMBERS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
NUMBERS += ("AR1", "AR10", "AR100", "ARs", "ARm", "ARl")

_AREAS = ("all", "small", "medium", "large")  # in pycocotools' order: all, < 32^2, < 96^2, rest


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
    annotations.

    Returns `AP AP50 AP75 APs APm APl AR1 AR10 AR100 ARs ARm ARl` in 0..1 (`AR100` is named after
    `max_detections`), and `classes`: by name `AP`, `AP50` and `objects` (without crowds). A value
    is -1 if there is no object of that size or class, as in pycocotools.
    """
    if max_detections <= 10:
        raise ValueError(f"max_detections is {max_detections}, expected more than 10")
    # Sorted by id, numbers in numeric order: equal scores are ranked in the order of the images.
    annotations = sorted(annotations, key=lambda each: (len(each.id), each.id))
    kept = align(detections, annotations, classes)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator = COCOeval(_truth(annotations, classes), _results(kept, classes), "bbox")
        evaluator.params.imgIds = list(range(1, len(annotations) + 1))
        evaluator.params.catIds = list(range(1, len(classes) + 1))
        evaluator.params.maxDets = [1, 10, max_detections]
        evaluator.evaluate()
        evaluator.accumulate()
    precision = evaluator.eval["precision"]  # [IoU threshold, recall, K, area, max_detections]
    recall = evaluator.eval["recall"]  # [IoU threshold, K, area, max_detections]
    return _twelve(precision, recall, max_detections) | {
        "classes": {
            name: {
                "AP": _mean(precision[:, :, label, 0, -1]),
                "AP50": _mean(precision[0, :, label, 0, -1]),
                "objects": sum(int(((a.labels == label) & ~a.crowd).sum()) for a in annotations),
            }
            for label, name in enumerate(classes)
        }
    }


def _twelve(precision: np.ndarray, recall: np.ndarray, max_detections: int) -> dict[str, float]:
    """Replaces pycocotools' `summarize`, which works only if 100 detections are kept."""
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


def _truth(annotations: Sequence[types.Annotation], classes: tuple[str, ...]) -> COCO:
    """The annotations as a COCO dataset, with images and categories numbered from 1."""
    objects = []
    for image, each in enumerate(annotations, start=1):
        size = np.array([each.width, each.height] * 2, np.float64)
        rows = zip(_xywh(each.boxes * size), each.labels, each.area, each.crowd, strict=True)
        for box, label, area, crowd in rows:
            objects.append(
                {
                    "id": len(objects) + 1,  # pycocotools treats a match with id 0 as no match
                    "image_id": image,
                    "category_id": int(label) + 1,
                    "bbox": box,
                    "area": float(area),
                    "iscrowd": int(crowd),
                }
            )
    return _indexed(len(annotations), classes, objects)


def _results(detections: Sequence[types.ImageDetections], classes: tuple[str, ...]) -> COCO:
    """The detections as pycocotools expects them; its own `loadRes` rejects an empty list."""
    results = []
    for image, each in enumerate(detections, start=1):
        rows = zip(_xywh(each.boxes), each.scores, each.labels, strict=True)
        for box, score, label in rows:
            results.append(
                {
                    "id": len(results) + 1,
                    "image_id": image,
                    "category_id": int(label) + 1,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "score": float(score),
                }
            )
    return _indexed(len(detections), classes, results)


def _xywh(boxes_pixels: np.ndarray) -> list[list[float]]:
    boxes = np.asarray(boxes_pixels, np.float64)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist()


def _indexed(images: int, classes: tuple[str, ...], objects: list[dict]) -> COCO:
    coco = COCO()
    coco.dataset = {
        "images": [{"id": index} for index in range(1, images + 1)],
        "categories": [{"id": index, "name": name} for index, name in enumerate(classes, start=1)],
        "annotations": objects,
    }
    coco.createIndex()
    return coco


def table(result: dict, protocol: str) -> str:
    """The result of `evaluate` as text; `protocol` describes how detections are made and kept."""
    numbers = {name: value for name, value in result.items() if name != "classes"}
    width = max(12, *(len(name) for name in result["classes"]))
    lines = [f"COCO, boxes, IoU 0.50 to 0.95; {protocol}"]
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
