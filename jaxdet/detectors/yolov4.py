"""YOLOv4: YOLOv3 with several anchors per object and IoU losses (Bochkovskiy et al. 2020,
arXiv:2004.10934, section 3.4; rules as in github.com/AlexeyAB/darknet)."""

from collections.abc import Callable
from functools import partial

from jaxdet.boxes import anchors, matching
from jaxdet.detectors.net import Net
from jaxdet.detectors.one_stage import OneStage
from jaxdet.detectors.yolov3 import decode
from jaxdet.losses import yolo
from jaxdet.losses.box import BoxLoss, ciou
from jaxdet.losses.classes import ClassLoss, bce
from jaxdet.types import Fit


def yolov4(
    net: Callable[[tuple[int, ...]], Net],
    *,
    size: int,
    classes: tuple[str, ...],
    fit: Fit,
    nms: Callable,
    priors: tuple[tuple[tuple[float, float], ...], ...],
    spare_priors: tuple[tuple[float, float], ...] = (),
    sensitivity: tuple[float, ...] | None = None,
    match_iou: float = 0.213,
    ignore_iou: float = 0.7,
    ignore_score: float = 0.25,
    box_weight: float = 1.0,
    fill: tuple[float, float, float] = (127.5, 127.5, 127.5),
    box_loss: BoxLoss = ciou,
    class_loss: ClassLoss = bce,
) -> OneStage:
    """YOLOv4 with one level of priors per map of the network.

    `net` makes the network from the number of priors per level; `nms` is a function of
    `boxes/nms.py` with its thresholds. `priors`, `spare_priors` and `match_iou` as in
    `matching.by_shapes`, `sensitivity` as in `anchors.prior_boxes`. A box that overlaps any object
    by more than `ignore_iou`, and has a class score above `ignore_score`, is not a negative.
    `box_weight` multiplies `box_loss`; `fill` is the colour of the padding.
    """
    assign = partial(
        matching.by_shapes,
        priors=priors,
        spare_priors=spare_priors,
        classes=len(classes),
        match_iou=match_iou,
    )
    losses = partial(
        yolo.yolov3,
        ignore_iou=ignore_iou,
        ignore_score=ignore_score,
        box_weight=box_weight,
        box_loss=box_loss,
        class_loss=class_loss,
    )
    return OneStage(
        net=net(tuple(len(of_level) for of_level in priors)),
        size=size,
        classes=classes,
        fit=fit,
        anchors=partial(anchors.prior_boxes, priors=priors, sensitivity=sensitivity),
        assign=assign,
        losses=losses,
        decode=partial(decode, class_loss=class_loss),
        nms=nms,
        colour=fill,
    )
