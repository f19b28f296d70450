"""YOLOv2: priors on one map (Redmon and Farhadi 2016, YOLO9000, arXiv:1612.08242)."""

from collections.abc import Callable
from functools import partial

import jax

from jaxdet import anchors, assign, codec, yolo_losses
from jaxdet.detectors.detector import Detector
from jaxdet.detectors.net import Net
from jaxdet.types import Anchors, Array, Raw


def yolov2(
    net: Callable[[tuple[int, ...]], Net],
    *,
    size: int,
    classes: tuple[str, ...],
    priors: tuple[tuple[tuple[float, float], ...], ...],
    direct_location: bool = True,
    ignore_iou: float = 0.5,
    select: partial,
) -> Detector:
    """YOLOv2 with anchor boxes.

    `net` makes the network from the number of priors of every level. `priors` are widths and
    heights in pixels of the input, whatever its size, per level. With `direct_location` a box's
    centre lies in its cell; without, it is free, as a region proposal's (section 2). Priors of
    the object's cell that fit its shape by more than `ignore_iou`, but not best, are ignored.
    `select` is `nms.multiclass` with its thresholds.
    """
    decode = codec.decode_in_cell if direct_location else _decode_from_anchor
    error = yolo_losses.in_cell_error if direct_location else yolo_losses.from_anchor_error
    return Detector(
        net=net(tuple(len(of_level) for of_level in priors)),
        size=size,
        classes=classes,
        anchors=partial(anchors.prior_boxes, priors=priors),
        assign=partial(assign.by_shape, ignore_iou=ignore_iou),
        losses=partial(yolo_losses.yolov2, decode=decode, box_error=error),
        decode=partial(_decode, decode=decode),
        nms=select,
    )


def _decode_from_anchor(codes: Array, anchors: Anchors) -> Array:
    return codec.decode(codes, anchors.boxes, variances=(1.0, 1.0))


def _decode(raw: Raw, anchors: Anchors, *, decode) -> tuple[jax.Array, jax.Array]:
    scores = jax.nn.sigmoid(raw.objectness)[..., None] * jax.nn.softmax(raw.logits)
    return decode(raw.boxes, anchors), scores
