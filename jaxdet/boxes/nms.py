"""Non-maximum suppression: `nms="NAME"` in a recipe selects the function NAME.

Each takes the boxes [A, 4], or [A, K, 4] if each class has its own, and the scores [A, K] of one
image and returns its detections: the best `max_kept` over all classes. Only scores above
`score_threshold` are candidates. Boxes are neither clipped nor dropped for their size. Equal scores
are ordered by anchor, then by class.
"""

import jax.numpy as jnp

from jaxdet.boxes.iou import paired_centre_distance, pairwise_iou
from jaxdet.boxes.suppression import boxes_at, greedy_places, soft_places
from jaxdet.types import Array, Detections


def greedy(
    boxes: Array,
    scores: Array,
    *,
    score_threshold: float,
    iou_threshold: float,
    max_kept: int,
    best_class: bool = False,
) -> Detections:
    """Greedy NMS, class by class: a box falls if a kept one overlaps it by more than
    `iou_threshold`.

    Every (anchor, class) is a separate candidate; with `best_class`, as in YOLOX, an anchor is one
    for its best class only (equal scores: the first class).
    """
    if best_class:
        best = jnp.arange(scores.shape[1])[None] == scores.argmax(axis=1)[:, None]
        scores = jnp.where(best, scores, -jnp.inf)
    limits = dict(floor=score_threshold, iou_threshold=iou_threshold, max_kept=max_kept)
    place, valid = greedy_places(boxes, scores, **limits)
    return _detections(boxes, scores, place, valid)


def diou(
    boxes: Array,
    scores: Array,
    *,
    score_threshold: float,
    iou_threshold: float,
    max_kept: int,
    beta: float = 0.6,
) -> Detections:
    """As `greedy`, by the IoU less a share for the distance of the centres.

    That share is d^2 / c^2 to the power of `beta`, with d the distance and c the diagonal of the
    smallest box around both (arXiv:1911.08287, section 3.3, where `beta` is 1; darknet's
    `greedynms`, which all YOLOv4 recipes name, has 0.6). So boxes of near objects fall less often.
    """

    def overlap(a: Array, b: Array) -> Array:
        apart = paired_centre_distance(a[:, None], b[None])
        return pairwise_iou(a, b) - apart**beta

    limits = dict(floor=score_threshold, iou_threshold=iou_threshold, max_kept=max_kept)
    place, valid = greedy_places(boxes, scores, **limits, overlap=overlap)
    return _detections(boxes, scores, place, valid)


def agnostic(
    boxes: Array, scores: Array, *, score_threshold: float, iou_threshold: float, max_kept: int
) -> Detections:
    """As `greedy`, but boxes of different classes suppress each other.

    An anchor is a candidate for its best class only (equal scores: the first class), so every
    object is found once, with one class.
    """
    limits = dict(floor=score_threshold, iou_threshold=iou_threshold, max_kept=max_kept)
    label, best = jnp.argmax(scores, axis=1), jnp.max(scores, axis=1)
    of_best = boxes_at(boxes, jnp.arange(best.size) * scores.shape[1] + label, scores.shape[1])
    anchor, valid = greedy_places(of_best, best[:, None], **limits)
    place = jnp.where(valid, anchor * scores.shape[1] + label[anchor], 0)
    return _detections(boxes, scores, place, valid)


def soft(
    boxes: Array,
    scores: Array,
    *,
    score_threshold: float,
    iou_threshold: float,
    max_kept: int,
    method: str = "gaussian",
    sigma: float = 0.5,
) -> Detections:
    """Soft NMS, class by class (Bodla et al. 2017, arXiv:1704.04503, section 3).

    A kept box multiplies the scores of the others of its class by a factor. For the `method`
    "linear" it is 1 - IoU if the IoU is above `iou_threshold`, else 1; for "gaussian" it is
    exp(-IoU^2 / sigma), whatever the `iou_threshold`. Scores are the decayed ones, which have to
    stay above `score_threshold`. ValueError for another method.
    """
    decays = {
        "linear": lambda iou: jnp.where(iou > iou_threshold, 1 - iou, 1.0),
        "gaussian": lambda iou: jnp.exp(-jnp.square(iou) / sigma),
    }
    if method not in decays:
        raise ValueError(f"method is {method!r}, expected one of {', '.join(decays)}")
    place, picked, valid = soft_places(
        boxes, scores, floor=score_threshold, max_kept=max_kept, decay=decays[method]
    )
    found = _detections(boxes, scores, place, valid)
    return found.replace(scores=jnp.where(valid, picked, 0.0))


def _detections(boxes: Array, scores: Array, place: Array, valid: Array) -> Detections:
    """The detections at the valid ones of the indices [M] into the flattened scores [A, K]."""
    anchor, label = jnp.divmod(place, scores.shape[1])
    return Detections(
        boxes=jnp.where(valid[:, None], boxes_at(boxes, place, scores.shape[1]), 0.0),
        scores=jnp.where(valid, scores[anchor, label], 0.0),
        labels=label,
        valid=valid,
    )
