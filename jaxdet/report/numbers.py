"""What a report says of detections beside their AP: plain numpy, from verdicts at IoU 0.5.

`pictures` are triples of a `Found`, an `Annotation` without crowds, and the `Verdict` on the two.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxdet.metrics import errors, voc
from jaxdet.types import Annotation, Found

Image = tuple[Found, Annotation, errors.Verdict]

SIZES = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, np.inf)}  # COCO's, pixels


def ranked(pictures: Sequence[Image]) -> tuple[np.ndarray, np.ndarray]:
    """Scores [d] and whether right [d] of all detections that count, by falling score."""
    scores = np.concatenate([found.scores for found, _, _ in pictures])
    kinds = np.concatenate([verdict.kinds for _, _, verdict in pictures])
    scores, right = (x[kinds != errors.IGNORED] for x in (scores, kinds == errors.RIGHT))
    order = np.argsort(-scores, kind="stable")
    return scores[order], right[order]


def best_threshold(pictures: Sequence[Image]) -> dict[str, float]:
    """The score at which the F1 of all detections together is best, and what holds there."""
    scores, right = ranked(pictures)
    objects = sum(int((~truth.difficult).sum()) for _, truth, _ in pictures)
    if not len(scores):
        return {"score": 0.0, "precision": 0.0, "recall": 0.0, "f1": 0.0}
    hits, kept = np.cumsum(right), np.arange(1, len(right) + 1)
    f1 = 2 * hits / (kept + objects)
    best = int(f1.argmax())
    return {
        "score": float(scores[best]),
        "precision": float(hits[best] / kept[best]),
        "recall": float(hits[best] / objects),
        "f1": float(f1[best]),
    }


def above(picture: Image, score: float) -> Image:
    """A picture with the detections that score at least `score`, judged anew."""
    found, truth, _ = picture
    keep = found.scores >= score
    found = Found(found.boxes[keep], found.scores[keep], found.labels[keep])
    return found, truth, errors.classify(found, truth)


def confusion(pictures: Sequence[Image], classes: int) -> np.ndarray:
    """Counts [K + 1, K + 1] of objects (rows) taken for classes (columns); the last is nothing.

    A detection takes, by falling score, the object that it covers best (IoU 0.5 at least) of those
    still free, one of its own class before others. Difficult objects are left out.
    """
    table = np.zeros((classes + 1, classes + 1), np.int64)
    for found, truth, _ in pictures:
        iou = errors.pairwise_iou(found, truth)
        fits = iou + (found.labels[:, None] == truth.labels[None, :])
        free = np.ones(len(truth.labels), bool)
        for i in np.argsort(-found.scores, kind="stable"):
            open_ = free & (iou[i] >= errors.FOREGROUND)
            if not open_.any():
                table[classes, found.labels[i]] += 1
                continue
            taken = np.where(open_, fits[i], -1.0).argmax()
            free[taken] = False
            table[truth.labels[taken], found.labels[i]] += not truth.difficult[taken]
        left = truth.labels[free & ~truth.difficult]
        table[:classes, classes] += np.bincount(left, minlength=classes)
    return table


def ap_by_size(pictures: Sequence[Image], classes: tuple[str, ...]) -> dict[str, dict]:
    """By COCO's sizes: `objects`, and `mAP` (area, IoU 0.5), None where there is no such object.

    Objects of another size are neither to be found nor wrong to find; nor is a detection of
    another size that is not right.
    """
    rows = {}
    for name, (low, high) in SIZES.items():
        found, annotations, objects = {}, [], 0
        for each, truth, verdict in pictures:
            other = (truth.area < low) | (truth.area >= high)
            size = (each.boxes[:, 2:] - each.boxes[:, :2]).prod(axis=1)
            keep = (verdict.kinds == errors.RIGHT) | ((size >= low) & (size < high))
            found[truth.id] = Found(each.boxes[keep], each.scores[keep], each.labels[keep])
            annotations.append(dataclasses.replace(truth, difficult=truth.difficult | other))
            objects += int((~annotations[-1].difficult).sum())
        result = voc.evaluate(found, annotations, classes) if objects else {"mAP_area": None}
        rows[name] = {"objects": objects, "mAP": result["mAP_area"]}
    return rows


def calibration(pictures: Sequence[Image], *, bins: int = 10) -> dict:
    """How often detections of a score are right: `score`, `precision`, `count` of the bins in use.

    `error` is the expected calibration error (Guo et al. 2017, arXiv:1706.04599, equation 3).
    """
    scores, right = ranked(pictures)
    bin_ = np.minimum((scores * bins).astype(int), bins - 1)
    count = np.bincount(bin_, minlength=bins)
    used = count > 0
    mean = lambda x: np.bincount(bin_, weights=x, minlength=bins)[used] / count[used]
    score, precision, count = mean(scores), mean(right), count[used]
    error = float((np.abs(score - precision) * count).sum() / max(count.sum(), 1))
    return {"score": score, "precision": precision, "count": count, "error": error}


def class_properties(
    annotations: Sequence[Annotation], classes: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """What the boxes of a class are like, each [K]: how many, their median side and aspect.

    The side is the square root of the area in pixels, the aspect width over height; nan where a
    class does not occur.
    """
    sides = [a.boxes[:, 2:] - a.boxes[:, :2] for a in annotations]
    pixels = [s * np.array([a.width, a.height]) for s, a in zip(sides, annotations, strict=True)]
    pixels = np.concatenate(pixels)  # [T, 2]
    labels = np.concatenate([a.labels for a in annotations])
    legal = (pixels > 0).all(axis=1)
    pixels, labels = pixels[legal], labels[legal]
    side, aspect = np.sqrt(pixels.prod(axis=1)), pixels[:, 0] / pixels[:, 1]
    median = lambda x: np.array([_median(x[labels == k]) for k in range(len(classes))])
    return {
        "boxes": np.bincount(labels, minlength=len(classes)),
        "box side, pixels": median(side),
        "width / height": median(aspect),
    }


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else np.nan


def correlation(x: np.ndarray, y: np.ndarray) -> float | None:
    """Pearson's r of x [k] and y [k]; None for less than three points, or where one is constant."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])


def image_f1(picture: Image) -> float:
    """F1 of the detections of one picture; 1 where nothing is to be found, and nothing is."""
    _, truth, verdict = picture
    right = int((verdict.kinds == errors.RIGHT).sum())
    found = int((verdict.kinds != errors.IGNORED).sum())
    total = found + int((~truth.difficult).sum())
    return 2 * right / total if total else 1.0
