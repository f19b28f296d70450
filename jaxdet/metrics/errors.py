"""What is wrong with detections, and what it costs: the error kinds of TIDE.

Bolya et al. 2020, arXiv:2008.08115, section 2. A detection that is not right at IoU 0.5 is, and the
first that holds decides, as in the authors' program:

- localisation: IoU 0.1 to 0.5 with an object of its class;
- classification: IoU 0.5 or more with an object of another class;
- duplicate: IoU 0.5 or more with an object of its class, found by a better one;
- background: IoU 0.1 at most with every object;
- both: what is left, badly placed on an object of another class.

An object is missed when it is not found, and no classification or localisation error is about it.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from pycocotools import mask

from jaxdet import types
from jaxdet.metrics import voc
from jaxdet.metrics.align import align

FOREGROUND, BACKGROUND = 0.5, 0.1  # section 2.2: t_f and t_b
KINDS = ("classification", "localisation", "both", "duplicate", "background", "missed")
RIGHT, IGNORED = "right", "ignored"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What became of the m detections and n objects of one picture."""

    kinds: np.ndarray  # [m] str, RIGHT, IGNORED (on a difficult object), or one of KINDS
    objects: np.ndarray  # [m] the object that a detection is about, -1 for none
    found: np.ndarray  # [n] bool, a detection is right about it
    missed: np.ndarray  # [n] bool; False for difficult objects


def classify(found: types.Found, truth: types.Annotation) -> Verdict:
    """Sorts the detections of a picture; which are right is decided as in `voc.evaluate`."""
    iou = pairwise_iou(found, truth)  # [m, n]
    same = found.labels[:, None] == truth.labels[None, :]
    kinds = np.full(len(found.labels), "background", "<U14")
    objects = np.full(len(found.labels), -1)
    hit = np.zeros(len(truth.labels), bool)
    for i in np.argsort(-found.scores, kind="stable") if len(hit) else ():
        kinds[i], objects[i] = _classify_one(iou[i], same[i], truth.difficult, hit)
        hit[objects[i]] |= kinds[i] == RIGHT
    near = np.isin(kinds, ("classification", "localisation"))
    missed = ~hit & ~truth.difficult
    missed[objects[near]] = False
    return Verdict(kinds, objects, hit, missed)


def _classify_one(
    iou: np.ndarray, same: np.ndarray, difficult: np.ndarray, hit: np.ndarray
) -> tuple[str, int]:
    """The kind of a detection, and the object it is about, from its IoU with objects [n]."""
    own = int(np.where(same, iou, -1.0).argmax())  # the first of equals
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
    found: Mapping[str, types.Found],
    annotations: Sequence[types.Annotation],
    classes: tuple[str, ...],
) -> dict:
    """How often each kind occurs, and how much mAP (area, IoU 0.5) is lost by it.

    The cost is what an oracle would gain that mends this kind and no other (section 2.3): it gives
    a detection the right class or box, takes false ones away, and missed objects off the list. Of
    several that mend the same object the best stays, and none where the object is found already.
    Crowd regions must be gone, see `without_crowds`. Raises `ValueError` as `voc.evaluate` does.

    Returns `mAP`, `counts` and `costs` by kind (cost in 0..1).
    """
    kept = align(found, annotations, classes)
    verdicts = [classify(*pair) for pair in zip(kept, annotations, strict=True)]
    base = voc.evaluate(found, annotations, classes)["mAP_area"]
    pictures = list(zip(kept, annotations, verdicts, strict=True))
    costs = {kind: _mended(kind, pictures, classes) - base for kind in KINDS}
    every = np.concatenate([verdict.kinds for verdict in verdicts])
    counts = {kind: int((every == kind).sum()) for kind in KINDS}
    counts["missed"] = sum(int(verdict.missed.sum()) for verdict in verdicts)
    return {"mAP": base, "counts": counts, "costs": costs}


def _mended(kind: str, pictures: Sequence[tuple], classes: tuple[str, ...]) -> float:
    """mAP where errors of `kind` do not happen."""
    if kind != "missed":
        found = {picture[1].id: mend(kind, *picture) for picture in pictures}
        return voc.evaluate(found, [truth for _, truth, _ in pictures], classes)["mAP_area"]
    left = [select_objects(truth, ~verdict.missed) for _, truth, verdict in pictures]
    if all(truth.difficult.all() for truth in left):
        return 1.0  # every object is missed, so that is what all was lost by
    found = {truth.id: each for each, truth, _ in pictures}
    return voc.evaluate(found, left, classes)["mAP_area"]


def mend(kind: str, found: types.Found, truth: types.Annotation, verdict: Verdict) -> types.Found:
    """The detections of a picture without errors of `kind`, one of KINDS but missed."""
    wrong = np.flatnonzero(verdict.kinds == kind)
    labels, boxes = found.labels.copy(), found.boxes.copy()
    keep = verdict.kinds != kind
    if kind in ("classification", "localisation"):
        wrong = wrong[~verdict.found[verdict.objects[wrong]]]
        wrong = wrong[np.argsort(-found.scores[wrong], kind="stable")]
        objects, first = np.unique(verdict.objects[wrong], return_index=True)
        best = wrong[first]
        keep[best] = True
        labels[best] = truth.labels[objects]
        if kind == "localisation":
            boxes[best] = (truth.boxes * _size(truth))[objects]
    return types.Found(boxes[keep], found.scores[keep], labels[keep])


def without_crowds(
    found: types.Found, truth: types.Annotation
) -> tuple[types.Found, types.Annotation]:
    """A picture without its crowd regions, and without detections that count for nothing there.

    As in COCO's evaluation a detection is neither right nor wrong when half of it lies in a crowd
    of its class, unless it is right about an object.
    """
    if not truth.crowd.any():
        return found, truth
    single = select_objects(truth, ~truth.crowd)
    crowds = select_objects(truth, truth.crowd)
    inside = pairwise_iou(found, crowds, crowd=True) >= FOREGROUND  # [m, crowds]
    inside &= found.labels[:, None] == crowds.labels[None, :]
    keep = ~inside.any(axis=1) | (classify(found, single).kinds == RIGHT)
    return types.Found(found.boxes[keep], found.scores[keep], found.labels[keep]), single


def select_objects(truth: types.Annotation, keep: np.ndarray) -> types.Annotation:
    """An annotation with the objects where `keep` [n] is True."""
    columns = ("boxes", "labels", "difficult", "crowd", "area")
    return dataclasses.replace(truth, **{name: getattr(truth, name)[keep] for name in columns})


def pairwise_iou(found: types.Found, truth: types.Annotation, *, crowd: bool = False) -> np.ndarray:
    """IoU of m detections and n objects: [m, n]; with `crowd` the share of the detection inside."""
    if not len(found.labels) or not len(truth.labels):
        return np.zeros((len(found.labels), len(truth.labels)))
    boxes = (found.boxes.astype(np.float64), truth.boxes * _size(truth))
    a, b = (np.concatenate([each[:, :2], each[:, 2:] - each[:, :2]], axis=1) for each in boxes)
    return mask.iou(a, b, [crowd] * len(b))


def _size(truth: types.Annotation) -> np.ndarray:
    return np.array([truth.width, truth.height] * 2, np.float64)
