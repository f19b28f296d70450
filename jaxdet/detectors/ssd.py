"""SSD: default boxes on several maps, one shot (Liu et al. 2016, arXiv:1512.02325)."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

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
    clip_anchors: str = "all",
    clip_detections: bool = False,
    select: partial,
) -> Detector:
    """SSD with one level of default boxes per map of the network.

    `net` makes the network from the number of default boxes per cell of every level. `scales`
    are the sides of the small square boxes as fractions of the picture, one per level and one
    more for the last level's large square (section 2.2); `strides` in pixels; `ratios` the aspect
    ratios beside 1; `clip_anchors` as `clip` in `anchors.default_boxes`; `clip_detections` cuts
    boxes at the border of the picture, before NMS. `select` is `nms.multiclass` with its
    thresholds.
    """
    return Detector(
        net=net(anchors.boxes_per_cell(ratios)),
        size=size,
        classes=classes,
        anchors=partial(
            _default_boxes, strides=strides, scales=scales, ratios=ratios, clip=clip_anchors
        ),
        assign=partial(assign.match, iou_threshold=match_iou),
        losses=partial(losses.multibox, variances=variances, negative_ratio=negative_ratio),
        decode=partial(_decode, variances=variances, clip=clip_detections),
        nms=select,
    )


def _default_boxes(grids, size, *, strides, scales, ratios, clip) -> Anchors:
    sides = [scale * size for scale in scales]
    return anchors.default_boxes(
        grids,
        size=size,
        strides=strides,
        min_sizes=sides[:-1],
        max_sizes=sides[1:],
        ratios=ratios,
        clip=clip,
    )


def _decode(raw: Raw, anchors: Anchors, *, variances, clip) -> tuple[jax.Array, jax.Array]:
    scores = jax.nn.softmax(raw.logits)[..., 1:]  # [B, A, K]; column 0 is the background
    boxes = codec.decode(raw.boxes, anchors.boxes, variances=variances)
    return jnp.clip(boxes, 0, 1) if clip else boxes, scores
