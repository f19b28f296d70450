"""Non-maximum suppression: `nms="NAME"` in a recipe selects the function NAME.

Each takes the boxes [A, 4] and scores [A, K] of one image and returns its detections.
"""

import jax.numpy as jnp

from jaxdet.boxes.suppression import greedy_places
from jaxdet.types import Array, Detections


def greedy(
    boxes: Array, scores: Array, *, score_threshold: float, iou_threshold: float, max_kept: int
) -> Detections:
    """Greedy NMS, class by class; keeps the best `max_kept` over all classes.

    Every (anchor, class) with a score above `score_threshold` is a separate candidate: boxes
    [A, 4], scores [A, K]. Boxes are neither clipped nor dropped for their size. Equal scores are
    ordered by anchor, then by class.
    """
    place, valid = greedy_places(
        boxes,
        scores,
        floor=score_threshold,
        iou_threshold=iou_threshold,
        max_kept=max_kept,
    )
    anchor, label = jnp.divmod(place, scores.shape[1])
    return Detections(
        boxes=jnp.where(valid[:, None], boxes[anchor], 0.0),
        scores=jnp.where(valid, scores[anchor, label], 0.0),
        labels=label,
        valid=valid,
    )
