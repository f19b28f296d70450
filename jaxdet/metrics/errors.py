"""The error kinds of TIDE: why detections are wrong, and how much mAP that costs.

Bolya et al. 2020, arXiv:2008.08115, section 2. A detection that is not correct at IoU 0.5 gets the
first kind that applies, in the order of the authors' program:

- localisation: IoU 0.1 to 0.5 with an object of its class;
- classification: IoU 0.5 or more with an object of another class;
- duplicate: IoU 0.5 or more with an object of its class that a higher-scoring detection matches;
- background: IoU of at most 0.1 with every object;
- both: all others, poorly localised on an object of another class.

An object is missed if no detection matches it, correctly or as a classification or localisation
error.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from hotcoco import mask

from jaxdet import types
from jaxdet.metrics import voc
from jaxdet.metrics.align import align

FOREGROUND, BACKGROUND = 0.5, 0.1  # section 2.2: t_f and t_b
KINDS = ("classification", "localisation", "both", "duplicate", "background", "missed")
RIGHT, IGNORED = "right", "ignored"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """How the m detections and n objects of one image were classified."""

    kinds: np.ndarray  # [m] str, RIGHT, IGNORED (on a difficult object), or one of KINDS
    objects: np.ndarray  # [m] index of the object that a detection refers to, -1 for none
    detected: np.ndarray  # [n] bool, True for objects with a correct detection
    missed: np.ndarray  # [n] bool; False for difficult objects


def classify(detections: types.ImageDetections, truth: types.Annotation) -> Verdict:
    """Classifies the detections of one image; correct ones are determined as in `voc.evaluate`."""
    iou = pairwise_iou(detections, truth)  # [m, n]
    same = detections.labels[:, None] == truth.labels[None, :]
    kinds = np.full(len(detections.labels), "background", "<U14")
    objects = np.full(len(detections.labels), -1)
    hit = np.zeros(len(truth.labels), bool)
    for i in np.argsort(-detections.scores, kind="stable") if len(hit) else ():
        kinds[i], objects[i] = _classify_one(iou[i], same[i], truth.difficult, hit)
        hit[objects[i]] |= kinds[i] == RIGHT
    near = np.isin(kinds, ("classification", "localisation"))
    missed = ~hit & ~truth.difficult
    missed[objects[near]] = False
    return Verdict(kinds, objects, hit, missed)


def _classify_one(
    iou: np.ndarray, same: np.ndarray, difficult: np.ndarray, hit: np.ndarray
) -> tuple[str, int]:
    """The kind of a detection and the object it refers to, from its IoU with the objects [n]."""
    own = int(np.where(same, iou, -1.0).argmax())  # the first one in a tie
    if same[own] and iou[own] >= FOREGROUND and (difficult[own] or not hit[own]):
        return (IGNORED if difficult[own] else RIGHT), own
    iou = np.where(difficult, 0.0, iou)
    own, other = int((iou * same).argmax()), int((iou * ~same).argmax())
    if same[own] and BACKGROUND <= iou[own] < FOREGROUND:
        return "localisation", own
    if not same[other] and iou[other] >= FOREGROUND:
        return "classification", other
    if same[own] and iou[own] >= FOREGROUND:
        return "duplicate", own
    return ("background", -1) if iou.max() <= BACKGROUND else ("both", int(iou.argmax()))


def evaluate(
    detections: Mapping[str, types.ImageDetections],
    annotations: Sequence[types.Annotation],
    classes: tuple[str, ...],
) -> dict:
    """How often each kind of error occurs, and how much mAP (area, IoU 0.5) it costs.

    The cost of a kind is the mAP gained by an oracle that fixes only this kind (section 2.3): it
    corrects the class or box of a detection, removes false positives, or drops missed objects from
    the ground truth. Of several detections corrected to the same object, only the highest-scoring
    one is kept, and none if the object is already detected. Crowd regions must be removed first,
    with `without_crowds`. Raises `ValueError` as `voc.evaluate` does.

    Returns `mAP`, `counts` and `costs` by kind (cost in 0..1).
    """
    kept = align(detections, annotations, classes)
    verdicts = [classify(*pair) for pair in zip(kept, annotations, strict=True)]
    base = voc.evaluate(detections, annotations, classes)["mAP_area"]
    images = list(zip(kept, annotations, verdicts, strict=True))
    costs = {kind: _oracle_map(kind, images, classes) - base for kind in KINDS}
    every = np.concatenate([verdict.kinds for verdict in verdicts])
    counts = {kind: int((every == kind).sum()) for kind in KINDS}
    counts["missed"] = sum(int(verdict.missed.sum()) for verdict in verdicts)
    return {"mAP": base, "counts": counts, "costs": costs}


def _oracle_map(kind: str, images: Sequence[tuple], classes: tuple[str, ...]) -> float:
    """The mAP if there were no errors of `kind`."""
    if kind != "missed":
        detections = {image[1].id: correct(kind, *image) for image in images}
        return voc.evaluate(detections, [truth for _, truth, _ in images], classes)["mAP_area"]
    left = [select_objects(truth, ~verdict.missed) for _, truth, verdict in images]
    if all(truth.difficult.all() for truth in left):
        return 1.0  # every object is missed, so that alone explains the whole loss
    detections = {truth.id: each for each, truth, _ in images}
    return voc.evaluate(detections, left, classes)["mAP_area"]


def correct(
    kind: str, detections: types.ImageDetections, truth: types.Annotation, verdict: Verdict
) -> types.ImageDetections:
    """The detections of one image with errors of `kind` (any of KINDS but "missed") fixed."""
    wrong = np.flatnonzero(verdict.kinds == kind)
    labels, boxes = detections.labels.copy(), detections.boxes.copy()
    keep = verdict.kinds != kind
    if kind in ("classification", "localisation"):
        wrong = wrong[~verdict.detected[verdict.objects[wrong]]]
        wrong = wrong[np.argsort(-detections.scores[wrong], kind="stable")]
        objects, first = np.unique(verdict.objects[wrong], return_index=True)
        best = wrong[first]
        keep[best] = True
        labels[best] = truth.labels[objects]
        if kind == "localisation":
            boxes[best] = (truth.boxes * _size(truth))[objects]
    return types.ImageDetections(boxes[keep], detections.scores[keep], labels[keep])


def without_crowds(
    detections: types.ImageDetections, truth: types.Annotation
) -> tuple[types.ImageDetections, types.Annotation]:
    """Removes the crowd regions of one image, and the detections that are ignored because of them.

    As in COCO's evaluation, a detection counts as neither correct nor wrong if at least half of it
    lies in a crowd region of its class, unless it correctly detects an object.
    """
    if not truth.crowd.any():
        return detections, truth
    single = select_objects(truth, ~truth.crowd)
    crowds = select_objects(truth, truth.crowd)
    inside = pairwise_iou(detections, crowds, crowd=True) >= FOREGROUND  # [m, crowds]
    inside &= detections.labels[:, None] == crowds.labels[None, :]
    keep = ~inside.any(axis=1) | (classify(detections, single).kinds == RIGHT)
    return detections.select(keep), single


def select_objects(truth: types.Annotation, keep: np.ndarray) -> types.Annotation:
    """The annotation with only the objects for which `keep` [n] is True."""
    columns = ("boxes", "labels", "difficult", "crowd", "area")
    return dataclasses.replace(truth, **{name: getattr(truth, name)[keep] for name in columns})


def pairwise_iou(
    detections: types.ImageDetections, truth: types.Annotation, *, crowd: bool = False
) -> np.ndarray:
    """IoU [m, n] of m detections and n objects; with `crowd`, the share of the detection inside."""
    if not len(detections.labels) or not len(truth.labels):
        return np.zeros((len(detections.labels), len(truth.labels)))
    boxes = (detections.boxes.astype(np.float64), truth.boxes * _size(truth))
    a, b = (np.concatenate([each[:, :2], each[:, 2:] - each[:, :2]], axis=1) for each in boxes)
    return mask.iou(a, b, [crowd] * len(b))


def _size(truth: types.Annotation) -> np.ndarray:
    return np.array([truth.width, truth.height] * 2, np.float64)
