"""YOLOv3: priors on three maps, classes without softmax (Redmon and Farhadi, arXiv:1804.02767)."""

from collections.abc import Callable
from functools import partial

import jax

from jaxdet.boxes import anchors, codecs, matching
from jaxdet.boxes.codecs import Codec
from jaxdet.detectors.net import Net
from jaxdet.detectors.one_stage import OneStage
from jaxdet.losses import box, yolo
from jaxdet.losses.box import BoxLoss
from jaxdet.losses.classes import ClassLoss, bce
from jaxdet.losses.scores import class_scores
from jaxdet.types import Anchors, Fit, Raw


def yolov3(
    net: Callable[[tuple[int, ...]], Net],
    *,
    size: int,
    classes: tuple[str, ...],
    fit: Fit,
    nms: Callable,
    priors: tuple[tuple[tuple[float, float], ...], ...],
    ignore_iou: float = 0.5,
    ignore_score: float = 0.0,
    fill: tuple[float, float, float] | None = None,
    box_loss: BoxLoss = box.yolov3,
    class_loss: ClassLoss = bce,
) -> OneStage:
    """YOLOv3 with one level of priors per map of the network.

    `net` makes the network from the number of priors per level; `nms` is a function of
    `boxes/nms.py` with its thresholds. `priors` are widths and heights in pixels of the input,
    whatever its size, per level, fine to coarse. A box that overlaps any object by more than
    `ignore_iou`, and has a class score above `ignore_score`, is not a negative. `fill` is the
    colour of the padding, by default the mean.
    """
    return OneStage(
        net=net(tuple(len(of_level) for of_level in priors)),
        size=size,
        classes=classes,
        fit=fit,
        anchors=partial(anchors.prior_boxes, priors=priors),
        assign=partial(matching.by_shapes, priors=priors, classes=len(classes)),
        losses=partial(
            yolo.yolov3,
            ignore_iou=ignore_iou,
            ignore_score=ignore_score,
            box_loss=box_loss,
            class_loss=class_loss,
        ),
        decode=partial(decode, class_loss=class_loss),
        nms=nms,
        colour=fill,
    )


def decode(
    raw: Raw, anchors: Anchors, *, class_loss: ClassLoss, codec: Codec = codecs.in_cell
) -> tuple[jax.Array, jax.Array]:
    """Boxes [B, A, 4], and scores [B, A, K]: objectness times the score of the class."""
    scores = jax.nn.sigmoid(raw.objectness)[..., None] * class_scores(raw.logits, class_loss)
    return codec.decode(raw.boxes, anchors), scores
