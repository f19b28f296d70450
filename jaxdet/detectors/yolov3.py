"""YOLOv3: priors on three maps, classes without softmax (Redmon and Farhadi, arXiv:1804.02767)."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from jaxdet import anchors, assign, codec, yolo_losses
from jaxdet.detectors.detector import Detector
from jaxdet.detectors.net import Net
from jaxdet.types import Anchors, Objects, Raw


def yolov3(
    net: Callable[[tuple[int, ...]], Net],
    *,
    size: int,
    classes: tuple[str, ...],
    priors: tuple[tuple[tuple[float, float], ...], ...],
    ignore_iou: float = 0.5,
    label_smoothing: float = 0.0,
    select: partial,
) -> Detector:
    """YOLOv3 with one level of priors per map of the network.

    `net` makes the network from the number of priors of every level. `priors` are widths and
    heights in pixels of the input, whatever its size, per level, fine to coarse. A box that
    overlaps any object by more than `ignore_iou` is no negative; `label_smoothing` as in
    `yolo_losses.yolov3`. `select` is `nms.multiclass` with its thresholds.
    """
    return Detector(
        net=net(tuple(len(of_level) for of_level in priors)),
        size=size,
        classes=classes,
        anchors=partial(anchors.prior_boxes, priors=priors),
        assign=_assign,
        losses=partial(yolo_losses.yolov3, ignore_iou=ignore_iou, label_smoothing=label_smoothing),
        decode=_decode,
        nms=select,
    )


def _assign(anchors: Anchors, objects: Objects) -> yolo_losses.TargetsAndTruth:
    truth = jnp.where(objects.mask[:, None], objects.boxes, 0.0)
    return yolo_losses.TargetsAndTruth(**vars(assign.by_shape(anchors, objects)), truth=truth)


def _decode(raw: Raw, anchors: Anchors) -> tuple[jax.Array, jax.Array]:
    scores = jax.nn.sigmoid(raw.objectness)[..., None] * jax.nn.sigmoid(raw.logits)
    return codec.decode_in_cell(raw.boxes, anchors), scores
