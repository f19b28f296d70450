"""The numbers of a report other than AP, in plain NumPy, from matches at IoU 0.5.

`images` are triples of detections, an `Annotation` without crowds, and the `Verdict` on the two.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from jaxdet.metrics import errors, voc
from jaxdet.types import Annotation, ImageDetections

Image = tuple[ImageDetections, Annotation, errors.Verdict]

SIZES = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, np.inf)}  # COCO's, pixels


def ranked(images: Sequence[Image]) -> tuple[np.ndarray, np.ndarray]:
    """Scores [d] and correctness [d] of all detections not ignored, highest score first."""
    scores = np.concatenate([detections.scores for detections, _, _ in images])
    kinds = np.concatenate([verdict.kinds for _, _, verdict in images])
    scores, correct = (x[kinds != errors.IGNORED] for x in (scores, kinds == errors.RIGHT))
    order = np.argsort(-scores, kind="stable")
    return scores[order], correct[order]


def over_threshold(images: Sequence[Image]) -> dict[str, np.ndarray]:
    """`precision`, `recall` and `f1` when a threshold keeps the detections of at least `score`.

    One entry for each score that occurs, the highest first; empty without detections.
    """
    scores, correct = ranked(images)
    last = np.flatnonzero(np.diff(scores, append=-np.inf))  # equal scores are kept together
    objects = sum(int((~truth.difficult).sum()) for _, truth, _ in images)
    hits, kept = np.cumsum(correct)[last], last + 1
    return {
        "score": scores[last],
        "precision": hits / kept,
        "recall": hits / max(objects, 1),
        "f1": 2 * hits / (kept + objects),
        "detections": kept,
    }


def best_threshold(images: Sequence[Image]) -> dict[str, float]:
    """The score with the best F1 over all detections, and precision, recall and F1 there."""
    curves = over_threshold(images)
    if not len(curves["score"]):
        return dict.fromkeys(("score", "precision", "recall", "f1"), 0.0)
    best = int(curves["f1"].argmax())
    return {name: float(curves[name][best]) for name in ("score", "precision", "recall", "f1")}


def above(image: Image, score: float) -> Image:
    """The image with only the detections that score at least `score`, matched again."""
    all_, truth, _ = image
    keep = all_.scores >= score
    detections = all_.select(keep)
    return detections, truth, errors.classify(detections, truth)


def confusion(images: Sequence[Image], classes: int) -> np.ndarray:
    """Counts [K + 1, K + 1] by true class (rows) and predicted class (columns).

    The last row and column are the background. From the highest score down, each detection is
    matched with the unmatched object of the highest IoU (at least 0.5), objects of its own class
    before others. Difficult objects are not counted.
    """
    table = np.zeros((classes + 1, classes + 1), np.int64)
    for detections, truth, _ in images:
        iou = errors.pairwise_iou(detections, truth)
        preference = iou + (detections.labels[:, None] == truth.labels[None, :])
        free = np.ones(len(truth.labels), bool)
        for i in np.argsort(-detections.scores, kind="stable"):
            candidates = free & (iou[i] >= errors.FOREGROUND)
            if not candidates.any():
                table[classes, detections.labels[i]] += 1
                continue
            match = np.where(candidates, preference[i], -1.0).argmax()
            free[match] = False
            table[truth.labels[match], detections.labels[i]] += not truth.difficult[match]
        left = truth.labels[free & ~truth.difficult]
        table[:classes, classes] += np.bincount(left, minlength=classes)
    return table


def ap_by_size(images: Sequence[Image], classes: tuple[str, ...]) -> dict[str, dict]:
    """By COCO's sizes: the number of `objects`, and `mAP` (area, IoU 0.5), None without objects.

    Objects of other sizes count neither as missed nor, when detected, as false positives. Incorrect
    detections of other sizes are ignored.
    """
    rows = {}
    for name, (low, high) in SIZES.items():
        detections, annotations, objects = {}, [], 0
        for each, truth, verdict in images:
            other = (truth.area < low) | (truth.area >= high)
            size = (each.boxes[:, 2:] - each.boxes[:, :2]).prod(axis=1)
            keep = (verdict.kinds == errors.RIGHT) | ((size >= low) & (size < high))
            detections[truth.id] = each.select(keep)
            annotations.append(dataclasses.replace(truth, difficult=truth.difficult | other))
            objects += int((~annotations[-1].difficult).sum())
        result = voc.evaluate(detections, annotations, classes) if objects else {"mAP_area": None}
        rows[name] = {"objects": objects, "mAP": result["mAP_area"]}
    return rows


def calibration(images: Sequence[Image], *, bins: int = 10) -> dict:
    """How often detections of a score are correct: `score`, `precision`, `count` of filled bins.

    `error` is the expected calibration error (Guo et al. 2017, arXiv:1706.04599, equation 3).
    """
    scores, correct = ranked(images)
    bin_ = np.minimum((scores * bins).astype(int), bins - 1)
    count = np.bincount(bin_, minlength=bins)
    used = count > 0
    mean = lambda x: np.bincount(bin_, weights=x, minlength=bins)[used] / count[used]
    score, precision, count = mean(scores), mean(correct), count[used]
    error = float((np.abs(score - precision) * count).sum() / max(count.sum(), 1))
    return {"score": score, "precision": precision, "count": count, "error": error}


def class_properties(
    annotations: Sequence[Annotation], classes: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """The number of boxes of each class, and their median side and aspect ratio, each [K].

    The side is the square root of the area in pixels, the aspect ratio is width / height; both are
    nan for a class that does not occur.
    """
    sides = [a.boxes[:, 2:] - a.boxes[:, :2] for a in annotations]
    pixels = [s * np.array([a.width, a.height]) for s, a in zip(sides, annotations, strict=True)]
    pixels = np.concatenate(pixels)  # [T, 2]
    labels = np.concatenate([a.labels for a in annotations])
    valid = (pixels > 0).all(axis=1)
    pixels, labels = pixels[valid], labels[valid]
    side, aspect = np.sqrt(pixels.prod(axis=1)), pixels[:, 0] / pixels[:, 1]
    median = lambda x: np.array([_median(x[labels == k]) for k in range(len(classes))])
    return {
        "boxes": np.bincount(labels, minlength=len(classes)),
        "box side, pixels": median(side),
        "width / height": median(aspect),
    }


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else np.nan


def correlation(x: np.ndarray, y: np.ndarray) -> tuple[float, float] | None:
    """Spearman's rho of x [k] and y [k], and its two-sided p-value by a permutation test.

    It is Pearson's correlation of the ranks; equal values have the mean of their ranks. The p-value
    is the share of permutations of y that correlate at least as strongly: of all for up to 8
    points, else of 20,000 drawn with a fixed seed, where the observed order counts as one more.
    None for fewer than three points, or if x or y is constant.
    """
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    x, y = _ranks(x), _ranks(y)
    x, y = ((v - v.mean()) / np.linalg.norm(v - v.mean()) for v in (x, y))
    rho = float(x @ y)
    if len(x) <= 8:
        orders, extra = np.array(list(itertools.permutations(range(len(x))))), 0
    else:
        orders = np.tile(np.arange(len(x)), (20_000, 1))
        orders, extra = np.random.default_rng(0).permuted(orders, axis=1), 1
    stronger = np.abs(y[orders] @ x) >= abs(rho) - 1e-9
    return rho, float((stronger.sum() + extra) / (len(orders) + extra))


def _ranks(values: np.ndarray) -> np.ndarray:
    """The ranks of values [k], from 0; equal ones have the mean of theirs."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count + 1) / 2)[place]


def image_f1(image: Image) -> float:
    """F1 of the detections in one image; 1 if there are neither objects nor detections."""
    _, truth, verdict = image
    correct = int((verdict.kinds == errors.RIGHT).sum())
    detected = int((verdict.kinds != errors.IGNORED).sum())
    total = detected + int((~truth.difficult).sum())
    return 2 * correct / total if total else 1.0
