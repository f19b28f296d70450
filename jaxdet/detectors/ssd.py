"""SSD: default boxes on several maps, in a single shot (Liu et al. 2016, arXiv:1512.02325)."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from jaxdet.boxes import anchors, codecs, matching
from jaxdet.detectors.net import Net
from jaxdet.detectors.one_stage import OneStage
from jaxdet.losses.box import BoxLoss, smooth_l1
from jaxdet.losses.classes import ClassLoss, cross_entropy
from jaxdet.losses.multibox import multibox
from jaxdet.losses.scores import class_scores
from jaxdet.types import Anchors, Fit, Raw


def ssd(
    net: Callable[[tuple[int, ...]], Net],
    *,
    size: int,
    classes: tuple[str, ...],
    fit: Fit,
    nms: Callable,
    scales: tuple[float, ...],
    ratios: tuple[tuple[float, ...], ...],
    strides: tuple[float, ...] = (),
    variances: tuple[float, float] = (0.1, 0.2),
    match_iou: float = 0.5,
    negative_ratio: int = 3,
    box_loss: BoxLoss = smooth_l1,
    class_loss: ClassLoss = cross_entropy,
    clip_anchors: str = "all",
    clip_detections: bool = False,
) -> OneStage:
    """SSD with one level of default boxes per map of the network.

    `net` makes the network from the number of default boxes per cell for every level; `nms` is a
    function of `boxes/nms.py` with its thresholds. `scales` are the sides of the small square boxes
    as fractions of the image, one per level and one more for the last level's large square (section
    2.2); `strides` in pixels; `ratios` the aspect ratios besides 1; `clip_anchors` as `clip` in
    `anchors.default_boxes`; `clip_detections` clips boxes to the image, before NMS.
    `negative_ratio` as in `multibox`: 0 is right for the focal loss, which needs no mining.

    `strides` are those at `size`. At any other, as in multi-scale training, or if they are empty, a
    level's stride is the input's side over its number of cells, which so cover the input evenly.
    """
    codec = codecs.from_anchor(variances)
    return OneStage(
        net=net(anchors.boxes_per_cell(ratios)),
        size=size,
        classes=classes,
        fit=fit,
        anchors=partial(
            _default_boxes,
            own_size=size,
            strides=strides,
            scales=scales,
            ratios=ratios,
            clip=clip_anchors,
        ),
        assign=partial(matching.match, iou_threshold=match_iou),
        losses=partial(
            multibox,
            codec=codec,
            box_loss=box_loss,
            class_loss=class_loss,
            negative_ratio=negative_ratio,
        ),
        decode=partial(decode, codec=codec, class_loss=class_loss, clip=clip_detections),
        nms=nms,
    )


def _default_boxes(grids, shape, *, own_size, strides, scales, ratios, clip) -> Anchors:
    if shape[0] != shape[1]:
        raise ValueError(f"SSD's default boxes are for square inputs, found {shape}")
    size = shape[0]
    sides = [scale * size for scale in scales]
    return anchors.default_boxes(
        grids,
        size=size,
        strides=strides if size == own_size else (),
        min_sizes=sides[:-1],
        max_sizes=sides[1:],
        ratios=ratios,
        clip=clip,
    )


def decode(raw: Raw, anchors: Anchors, *, codec, class_loss, clip) -> tuple[jax.Array, jax.Array]:
    scores = class_scores(raw.logits, class_loss)[..., 1:]  # [B, A, K]; column 0 is the background
    boxes = codec.decode(raw.boxes, anchors)
    return jnp.clip(boxes, 0, 1) if clip else boxes, scores
