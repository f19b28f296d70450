"""YOLOv2: priors on one map (Redmon and Farhadi 2016, YOLO9000, arXiv:1612.08242)."""

from collections.abc import Callable
from functools import partial

import jax

from jaxdet.boxes import anchors, codecs, matching
from jaxdet.detectors.net import Net
from jaxdet.detectors.one_stage import OneStage
from jaxdet.losses import box, yolo
from jaxdet.losses.box import BoxLoss
from jaxdet.losses.classes import ClassLoss, cross_entropy
from jaxdet.losses.scores import class_scores
from jaxdet.types import Anchors, Fit, Raw


def yolov2(
    net: Callable[[tuple[int, ...]], Net],
    *,
    size: int,
    classes: tuple[str, ...],
    fit: Fit,
    nms: Callable,
    priors: tuple[tuple[tuple[float, float], ...], ...],
    direct_location: bool = True,
    ignore_iou: float = 0.5,
    box_loss: BoxLoss | None = None,
    class_loss: ClassLoss = cross_entropy,
) -> OneStage:
    """YOLOv2 with anchor boxes.

    `net` makes the network from the number of priors per level; `nms` is a function of
    `boxes/nms.py` with its thresholds. `priors` are widths and heights in pixels of the input,
    whatever its size, per level. With `direct_location` a box's centre lies in its cell; without,
    it is unconstrained, as in a region proposal network (section 2). Priors of the object's cell
    whose shape IoU is above `ignore_iou`, but not the best, are ignored. `box_loss` is by default
    `yolov2` with direct location and `mse` without; ValueError for a loss that needs direct
    location, without it.
    """
    codec = codecs.in_cell if direct_location else codecs.from_anchor((1.0, 1.0))
    box_loss = box_loss or (box.yolov2 if direct_location else box.mse)
    if not direct_location and box_loss in (box.yolov2, box.yolov3):
        raise ValueError(
            f"box_loss {box_loss.__name__!r} needs direct_location; without it use 'mse'"
        )
    return OneStage(
        net=net(tuple(len(of_level) for of_level in priors)),
        size=size,
        classes=classes,
        fit=fit,
        anchors=partial(anchors.prior_boxes, priors=priors),
        assign=partial(matching.by_shape, ignore_iou=ignore_iou),
        losses=partial(yolo.yolov2, codec=codec, box_loss=box_loss, class_loss=class_loss),
        decode=partial(_decode, codec=codec, class_loss=class_loss),
        nms=nms,
    )


def _decode(raw: Raw, anchors: Anchors, *, codec, class_loss) -> tuple[jax.Array, jax.Array]:
    scores = jax.nn.sigmoid(raw.objectness)[..., None] * class_scores(raw.logits, class_loss)
    return codec.decode(raw.boxes, anchors), scores
