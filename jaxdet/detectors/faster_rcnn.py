"""Faster R-CNN: a network proposes regions, and Fast R-CNN classifies them (Ren et al. 2015,
arXiv:1506.01497), with one map or a pyramid of them (Lin et al. 2016, arXiv:1612.03144)."""

import math
from collections.abc import Callable
from functools import partial

from jaxdet.boxes import anchors, codecs, matching, sampling
from jaxdet.boxes.proposals import propose
from jaxdet.detectors.net import RegionNet
from jaxdet.detectors.two_stage import Stage, TwoStage
from jaxdet.layers.roi import roi_align
from jaxdet.layers.roi_levels import pool_levels
from jaxdet.losses import rcnn
from jaxdet.losses.box import BoxLoss, smooth_l1
from jaxdet.losses.classes import ClassLoss, cross_entropy
from jaxdet.types import Fit

LARGEST_LOG_RATIO = math.log(1000 / 16)  # of a box's side to its anchor's
_smooth_l1 = partial(smooth_l1, beta=1 / 9)


def faster_rcnn(
    net: Callable[[tuple[int, ...]], RegionNet],
    *,
    size: int,
    classes: tuple[str, ...],
    fit: Fit,
    nms: Callable,
    anchor_sizes: tuple[tuple[float, ...], ...],
    strides: tuple[int, ...],
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0),
    original: bool = False,
    candidates: tuple[int, int] = (2000, 1000),
    proposals: tuple[int, int] = (2000, 1000),
    proposal_iou: float = 0.7,
    proposal_score: float = 0.0,
    proposal_side: float = 1e-3,
    anchors_drawn: int = 256,
    regions_drawn: int = 512,
    pool: Callable = roi_align,
    rpn_box_loss: BoxLoss = _smooth_l1,
    box_loss: BoxLoss = _smooth_l1,
    class_loss: ClassLoss = cross_entropy,
) -> TwoStage:
    """Faster R-CNN with one level of anchors per map of the network; defaults are torchvision's.

    `net` makes the network from the number of anchors per cell for every level; `nms` is a function
    of `boxes/nms.py` with its thresholds.

    Args:
      anchor_sizes: sides of square anchors in pixels, one tuple per level.
      strides: of the maps that regions are pooled from, the first ones of the network.
      anchor_ratios: height / width.
      original: as the paper's code and chenyuntc's: anchors with exact sides in the middle of their
        cells, which do not count in training where they cross the input's border; small proposals
        are dropped before the best are chosen.
      candidates: how many of the best of each level NMS sees, in training and in evaluation.
      proposals: how many regions it gives the second stage, in training and in evaluation.
      proposal_iou: NMS drops proposals that overlap a better one by more.
      proposal_score: the lowest probability of a proposal.
      proposal_side: the shortest side of a proposal, in pixels.
      anchors_drawn: how many anchors of an image count in the losses, at most half positive.
      regions_drawn: how many regions of an image count, at most a quarter positive.
      pool: a function of `layers/roi.py`.
    """
    levels = dict(sizes=anchor_sizes, ratios=anchor_ratios)
    if original:
        levels |= dict(strides=strides, offset=0.5, rounded=False)
    anchor_codec = codecs.from_anchor((1.0, 1.0), LARGEST_LOG_RATIO)
    region_codec = codecs.from_anchor((0.1, 0.2), LARGEST_LOG_RATIO)
    first = Stage(
        codec=anchor_codec,
        assign=partial(
            matching.by_overlap,
            positive_iou=0.7,
            negative_iou=0.3,
            keep_best=True,
            inside_only=original,
        ),
        draw=partial(sampling.draw, count=anchors_drawn, share=0.5),
        losses=partial(rcnn.rpn, codec=anchor_codec, box_loss=rpn_box_loss),
    )
    second = Stage(
        codec=region_codec,
        assign=partial(matching.by_overlap, positive_iou=0.5, negative_iou=0.5),
        draw=partial(sampling.draw, count=regions_drawn, share=0.25),
        losses=partial(rcnn.roi, codec=region_codec, box_loss=box_loss, class_loss=class_loss),
    )
    limits = dict(iou_threshold=proposal_iou, score_threshold=proposal_score)
    limits |= dict(min_side=proposal_side, small_first=original)
    return TwoStage(
        net=net(tuple(len(sides) * len(anchor_ratios) for sides in anchor_sizes)),
        size=size,
        classes=classes,
        fit=fit,
        anchors=partial(anchors.grid_anchors, **levels),
        first=first,
        propose=tuple(
            partial(propose, before=before, after=after, **limits)
            for before, after in zip(candidates, proposals, strict=True)
        ),
        pool=partial(_pool, strides=strides, pool=pool),
        second=second,
        regions_drawn=regions_drawn,
        class_loss=class_loss,
        nms=nms,
    )


def _pool(maps, boxes, *, shape, strides, pool):
    return pool_levels(maps[: len(strides)], boxes, shape=shape, strides=strides, pool=pool)
