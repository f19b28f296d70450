"""SSD: default boxes on several maps, one shot (Liu et al. 2016, arXiv:1512.02325)."""

from collections.abc import Callable
from functools import partial

import jax

from jaxdet import anchors, assign, codec, losses
from jaxdet.detectors.detector import Detector
from jaxdet.detectors.net import Net
from jaxdet.types import Anchors, Raw


def ssd(
    net: Callable[[tuple[int, ...]], Net],
    *,
    size: int,
    classes: tuple[str, ...],
    strides: tuple[float, ...],
    scales: tuple[float, ...],
    ratios: tuple[tuple[float, ...], ...],
    variances: tuple[float, float] = (0.1, 0.2),
    match_iou: float = 0.5,
    negative_ratio: int = 3,
    select: partial,
) -> Detector:
    """SSD with one level of default boxes per map of the network.

    `net` makes the network from the number of default boxes per cell of every level. `scales`
    are the sides of the small square boxes as fractions of the picture, one per level and one
    more for the last level's large square (section 2.2); `strides` in pixels; `ratios` the aspect
    ratios beside 1. `select` is `nms.multiclass` with its thresholds.
    """
    return Detector(
        net=net(anchors.boxes_per_cell(ratios)),
        size=size,
        classes=classes,
        anchors=partial(_default_boxes, strides=strides, scales=scales, ratios=ratios),
        assign=partial(assign.match, iou_threshold=match_iou),
        losses=partial(losses.multibox, variances=variances, negative_ratio=negative_ratio),
        decode=partial(_decode, variances=variances),
        nms=select,
    )


def _default_boxes(grids, size, *, strides, scales, ratios) -> Anchors:
    sides = [scale * size for scale in scales]
    return anchors.default_boxes(
        grids,
        size=size,
        strides=strides,
        min_sizes=sides[:-1],
        max_sizes=sides[1:],
        ratios=ratios,
    )


def _decode(raw: Raw, anchors: Anchors, *, variances) -> tuple[jax.Array, jax.Array]:
    scores = jax.nn.softmax(raw.logits)[..., 1:]  # [B, A, K]; column 0 is the background
    return codec.decode(raw.boxes, anchors.boxes, variances=variances), scores
