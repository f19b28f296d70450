"""YOLO: one grid, a few boxes and one class a cell (Redmon et al. 2015, arXiv:1506.02640)."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from jaxdet import anchors, assign, codec, yolo_losses
from jaxdet.detectors.detector import Detector
from jaxdet.detectors.net import Net
from jaxdet.types import Anchors, Raw


def yolov1(
    net: Callable[[tuple[int, ...]], Net],
    *,
    size: int,
    classes: tuple[str, ...],
    boxes_per_cell: int = 2,
    select: partial,
) -> Detector:
    """YOLO with `boxes_per_cell` boxes in every cell of the network's one map.

    `net` makes the network from that number, in a tuple. The network's numbers are confidences,
    probabilities and places themselves, not logits (section 2.2: the last layer is linear).
    `select` is `nms.multiclass` with its thresholds.
    """
    return Detector(
        net=net((boxes_per_cell,)),
        size=size,
        classes=classes,
        anchors=partial(_cells, per_cell=boxes_per_cell),
        assign=assign.by_cell,
        losses=partial(yolo_losses.yolov1, per_cell=boxes_per_cell),
        decode=_decode,
        nms=select,
    )


def _cells(grids, size, *, per_cell) -> Anchors:
    """There are no priors: an anchor is the cell itself."""
    priors = [[(size / columns, size / rows)] * per_cell for rows, columns in grids]
    return anchors.prior_boxes(grids, size, priors=priors)


def _decode(raw: Raw, anchors: Anchors) -> tuple[jax.Array, jax.Array]:
    # Below zero two of them would make a high score.
    confidence, classes = jnp.clip(raw.objectness, 0, 1), jnp.clip(raw.logits, 0, 1)
    return codec.decode_roots(raw.boxes, anchors), confidence[..., None] * classes
