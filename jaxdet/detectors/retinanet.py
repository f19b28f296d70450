"""RetinaNet: one stage on a feature pyramid, with the focal loss (Lin et al. 2017,
arXiv:1708.02002)."""

from collections.abc import Callable
from functools import partial

from jaxdet.boxes import anchors, codecs, matching
from jaxdet.detectors.faster_rcnn import LARGEST_LOG_RATIO
from jaxdet.detectors.net import Net
from jaxdet.detectors.one_stage import OneStage
from jaxdet.detectors.ssd import decode
from jaxdet.losses.box import BoxLoss, l1
from jaxdet.losses.classes import ClassLoss, focal
from jaxdet.losses.multibox import multibox
from jaxdet.types import Fit


def retinanet(
    net: Callable[[tuple[int, ...]], Net],
    *,
    size: int,
    classes: tuple[str, ...],
    fit: Fit,
    nms: Callable,
    anchor_sizes: tuple[tuple[float, ...], ...],
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0),
    box_loss: BoxLoss = l1,
    class_loss: ClassLoss = focal,
) -> OneStage:
    """RetinaNet as in torchvision, with one level of anchors per map of the network.

    `net` makes the network from the number of anchors per cell for every level; `nms` is a function
    of `boxes/nms.py` with its thresholds. `anchor_sizes` are the sides of square anchors in pixels,
    one tuple per level, `anchor_ratios` height / width.
    """
    codec = codecs.from_anchor((1.0, 1.0), LARGEST_LOG_RATIO)
    losses = dict(codec=codec, box_loss=box_loss, class_loss=class_loss, negative_ratio=0)
    overlaps = dict(positive_iou=0.5, negative_iou=0.4, keep_best=True)
    return OneStage(
        net=net(tuple(len(sides) * len(anchor_ratios) for sides in anchor_sizes)),
        size=size,
        classes=classes,
        fit=fit,
        anchors=partial(anchors.grid_anchors, sizes=anchor_sizes, ratios=anchor_ratios),
        assign=partial(matching.by_overlap, **overlaps),
        losses=partial(multibox, **losses),
        decode=partial(decode, codec=codec, class_loss=class_loss, clip=True),
        nms=nms,
    )
