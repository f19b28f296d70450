"""Image classification: a detector whose only anchor is the whole image.

The YOLOs first train their backbone as a classifier, YOLOv2 once more at the size of the detector:
the high-resolution classifier (Redmon and Farhadi 2016, arXiv:1612.08242, section 2). `init_from`
can load its backbone.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from jaxdet.boxes import anchors, codecs, matching
from jaxdet.detectors.net import Net
from jaxdet.detectors.one_stage import OneStage
from jaxdet.losses.classes import ClassLoss, bce
from jaxdet.losses.scores import class_scores
from jaxdet.types import Anchors, Fit, Losses, Objects, Raw, Targets


def classifier(
    net: Callable[[tuple[int, ...]], Net],
    *,
    size: int,
    classes: tuple[str, ...],
    fit: Fit,
    nms: Callable,
    class_loss: ClassLoss = bce,
) -> OneStage:
    """A multi-label image classifier, as for VOC's classification task.

    `net` makes the network; `nms` is a function of `boxes/nms.py` with its thresholds. The box of
    a predicted class is the whole image.
    """
    return OneStage(
        net=net((1,)),
        size=size,
        classes=classes,
        fit=fit,
        anchors=_whole_image,
        assign=matching.by_cell,
        losses=partial(_losses, class_loss=class_loss),
        decode=partial(_decode, class_loss=class_loss),
        nms=nms,
    )


def _whole_image(grids, shape) -> Anchors:
    """One cell, whatever the grids, with a prior of its size."""
    return anchors.prior_boxes(((1, 1),), shape, priors=[[shape[::-1]]])


def _losses(
    raw: Raw, targets: Targets, objects: Objects, anchors: Anchors, *, class_loss: ClassLoss
) -> Losses:
    """The class loss, counted in images; a class's target is the largest weight of its objects."""
    weight = jnp.where(objects.mask, objects.weight, 0.0)  # [B, N]
    of_class = jax.nn.one_hot(objects.labels, raw.logits.shape[-1]) * weight[..., None]
    present = of_class.max(axis=1, initial=0.0)  # [B, K]
    total = class_loss(raw.logits[:, 0], present).sum()
    return {"class": (total, jnp.full((), len(raw.logits), raw.logits.dtype))}


def _decode(raw: Raw, anchors: Anchors, *, class_loss) -> tuple[jax.Array, jax.Array]:
    boxes = codecs.decode_from_anchor(raw.boxes, anchors)
    return boxes, class_scores(raw.logits, class_loss)
