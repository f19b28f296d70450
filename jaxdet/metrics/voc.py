"""Average precision as the PASCAL VOC devkit computes it (Everingham et al. 2010, section 4.2).

In the devkit, a box covering pixels 1 to 10 is 10 wide, so it adds 1 to every difference. Our boxes
are continuous (0 to 10), so plain differences give the same areas.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxdet import types
from jaxdet.metrics.align import align

MAIN = "mAP11"  # the number that decides which checkpoint is best
NUMBERS = ("mAP11", "mAP_area")  # those that a recipe can choose instead

RESAMPLES = 1_000  # of a bootstrap


def evaluate(
    detections: Mapping[str, types.ImageDetections],
    annotations: Sequence[types.Annotation],
    classes: tuple[str, ...],
    *,
    iou_threshold: float = 0.5,
) -> dict:
    """Average precision of the detections of a whole dataset.

    `detections` is keyed by annotation id; an image without an entry has no detections. Raises
    `ValueError` for ids or labels that are not those of the annotations.

    Returns:
      `mAP11`, `mAP_area`: mean over the classes that occur, 11-point (VOC2007) and area (VOC2010).
      `iou_threshold`: the argument.
      `classes`: by name `ap11`, `ap_area` (None if the class does not occur), `objects` (without
        the difficult ones), `difficult` (including crowds), `found` (the number of detections) and
        `right` (the number of true positives).
      `curves`: by name `scores`, `precision`, `recall`, float arrays in descending order of score,
        without the detections of difficult objects.
    """
    if not 0 < iou_threshold <= 1:
        raise ValueError(f"iou_threshold is {iou_threshold}, expected 0 < iou_threshold <= 1")
    pairs = _pair(align(detections, annotations, classes), annotations)
    if pairs["difficult"].all():
        raise ValueError("nothing to evaluate: all objects are difficult or crowds")
    each = {name: _evaluate_class(k, pairs, iou_threshold) for k, name in enumerate(classes)}
    occurring = [numbers for numbers, _ in each.values() if numbers["objects"]]
    return {
        "mAP11": float(np.mean([numbers["ap11"] for numbers in occurring])),
        "mAP_area": float(np.mean([numbers["ap_area"] for numbers in occurring])),
        "iou_threshold": iou_threshold,
        "classes": {name: numbers for name, (numbers, _) in each.items()},
        "curves": {name: curve for name, (_, curve) in each.items()},
    }


def bootstrap(
    detections: Mapping[str, types.ImageDetections],
    annotations: Sequence[types.Annotation],
    classes: tuple[str, ...],
    *,
    other: Mapping[str, types.ImageDetections] | None = None,
    iou_threshold: float = 0.5,
) -> dict[str, tuple[float, float]]:
    """The interval of 95 % of each of `NUMBERS`, by the bootstrap over images (Efron 1979).

    As many images as there are get drawn with replacement, a thousand times; the interval holds the
    middle 95 % of what `evaluate` says of them. With `other` detections of the same images it is
    that of the difference, theirs subtracted. The draws are the same in every call.
    """
    count = len(annotations)
    times = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), RESAMPLES)

    def drawn(found: Mapping[str, types.ImageDetections]) -> np.ndarray:
        pairs = _pair(align(found, annotations, classes), annotations)
        return _of_draws(pairs, times, classes=len(classes), iou_threshold=iou_threshold)

    results = drawn(detections) - (drawn(other) if other is not None else 0)
    ends = np.nanpercentile(results, (2.5, 97.5), axis=1).T  # nan: a draw without any object
    return {
        name: (float(low), float(high)) for name, (low, high) in zip(NUMBERS, ends, strict=True)
    }


def _of_draws(pairs: dict, times: np.ndarray, classes: int, iou_threshold: float) -> np.ndarray:
    """`NUMBERS` [2, R] when the images count as many `times` [R, images] as they were drawn."""
    each = np.full((2, classes, len(times)), np.nan)
    for label in range(classes):
        order, right = _ranked(label, pairs, iou_threshold)
        counted = (pairs["truth_labels"] == label) & ~pairs["difficult"]
        objects = times[:, pairs["truth_images"][counted]].sum(axis=1)
        of_image = pairs["images"][order]
        for draw in np.flatnonzero(objects):
            weight = times[draw, of_image]
            kept = weight > 0
            hits = np.cumsum(weight * right)[kept]
            precision, recall = hits / np.cumsum(weight)[kept], hits / objects[draw]
            each[:, label, draw] = _ap11(precision, recall), _ap_area(precision, recall)
    return np.nanmean(each, axis=1)


def _pair(
    detections: Sequence[types.ImageDetections], annotations: Sequence[types.Annotation]
) -> dict:
    """The detections [D] and true objects [T] of the dataset as flat arrays, matched by IoU."""
    best = [_best_truth(each, truth) for each, truth in zip(detections, annotations, strict=True)]
    starts = np.cumsum([0] + [len(truth.labels) for truth in annotations])
    return {
        "scores": np.concatenate([each.scores for each in detections]).astype(np.float64),  # [D]
        "labels": np.concatenate([each.labels for each in detections]),  # [D]
        "ious": np.concatenate([ious for ious, _ in best]),  # [D]
        "truths": np.concatenate(
            [truth + start for (_, truth), start in zip(best, starts[:-1], strict=True)]
        ),  # [D] index into the true objects
        "truth_labels": np.concatenate([truth.labels for truth in annotations]),  # [T]
        # Crowd regions, which VOC does not have, need not be detected either.
        "difficult": np.concatenate([truth.difficult | truth.crowd for truth in annotations]),
        "images": np.repeat(np.arange(len(best)), [len(ious) for ious, _ in best]),  # [D]
        "truth_images": np.repeat(np.arange(len(best)), np.diff(starts)),  # [T]
    }


def _best_truth(
    detections: types.ImageDetections, truth: types.Annotation
) -> tuple[np.ndarray, np.ndarray]:
    """IoU and index of the object of its class that each detection [m] of one image overlaps most.

    The first one in a tie; IoU -1 if the image has no object of that class.
    """
    if not len(detections.labels) or not len(truth.labels):
        return np.full(len(detections.labels), -1.0), np.zeros(len(detections.labels), np.int64)
    size = np.array([truth.width, truth.height] * 2, np.float64)
    ious = pairwise_iou(detections.boxes.astype(np.float64), truth.boxes * size)  # [m, n]
    ious = np.where(detections.labels[:, None] == truth.labels[None, :], ious, -1.0)
    best = ious.argmax(axis=1)
    return ious[np.arange(len(best)), best], best


def pairwise_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of a [m, 4] and b [n, 4]: [m, n]. In NumPy: JAX would compile for every new m and n."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.maximum(high - low, 0).prod(axis=-1)
    area_a, area_b = ((box[:, 2:] - box[:, :2]).prod(axis=-1) for box in (a, b))
    union = area_a[:, None] + area_b[None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _evaluate_class(label: int, pairs: dict, iou_threshold: float) -> tuple[dict, dict]:
    """The numbers and the precision-recall curve of one class."""
    difficult = pairs["difficult"][pairs["truth_labels"] == label]
    objects = int((~difficult).sum())
    order, right = _ranked(label, pairs, iou_threshold)
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    recall = np.cumsum(right) / max(objects, 1)
    numbers = {
        "ap11": _ap11(precision, recall) if objects else None,
        "ap_area": _ap_area(precision, recall) if objects else None,
        "objects": objects,
        "difficult": int(difficult.sum()),
        "found": int((pairs["labels"] == label).sum()),
        "right": int(right.sum()),
    }
    scores = pairs["scores"][order]
    return numbers, {"scores": scores, "precision": precision, "recall": recall}


def _ranked(label: int, pairs: dict, iou_threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """The detections of a class, highest score first, and whether each is right.

    Those of difficult objects are left out.
    """
    of_class = np.flatnonzero(pairs["labels"] == label)
    order = of_class[np.argsort(-pairs["scores"][of_class], kind="stable")]
    truths = pairs["truths"][order]
    hits = pairs["ious"][order] >= iou_threshold
    ignored = np.zeros_like(hits)
    ignored[hits] = pairs["difficult"][truths[hits]]
    return order[~ignored], _first_of_each(truths, hits)[~ignored]


def _first_of_each(truths: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """True where a hit [d] is the first on its object: later detections of an object are wrong."""
    first = np.zeros(len(truths), bool)
    where = np.flatnonzero(hits)
    first[where[np.unique(truths[where], return_index=True)[1]]] = True
    return first


def _ap11(precision: np.ndarray, recall: np.ndarray) -> float:
    """VOC2007: mean over recall 0, 0.1 .. 1 of the highest precision at that recall or above."""
    # In floats, as published numbers are: recall 3/10 does not reach 0.1 * 3 = 0.30000000000000004.
    best = [precision[recall >= point].max(initial=0) for point in np.arange(0, 1.1, 0.1)]
    return float(np.mean(best))


def _ap_area(precision: np.ndarray, recall: np.ndarray) -> float:
    """VOC2010: area under the curve; each precision becomes the highest at that recall or above."""
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0) * falling).sum())


def table(result: dict, protocol: str) -> str:
    """The result of `evaluate` as text; `protocol` describes how detections are made and kept."""
    width = max(12, *(len(name) for name in result["classes"]))
    lines = [
        f"VOC, IoU {result['iou_threshold']:g}, difficult objects ignored; {protocol}",
        f"{'class':{width}}  objects  detected  AP 11-point   AP area",
    ]
    for name, each in result["classes"].items():
        lines.append(
            f"{name:{width}}  {each['objects']:7d}  {each['found']:8d}"
            f"  {_percent(each['ap11']):>11}  {_percent(each['ap_area']):>8}"
        )
    occurring = sum(each["objects"] > 0 for each in result["classes"].values())
    lines.append(
        f"{f'mAP of {occurring}':{width}}  {'':7}  {'':8}"
        f"  {_percent(result['mAP11']):>11}  {_percent(result['mAP_area']):>8}"
    )
    return "\n".join(lines)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"
