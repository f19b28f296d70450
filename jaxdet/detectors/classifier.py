"""Which classes are in a picture: a detector whose one anchor is the whole picture.

The YOLOs train their backbone as a classifier first, and YOLOv2's once more at the size of the
detector: the high-resolution classifier (Redmon and Farhadi 2016, arXiv:1612.08242, section 2).
`init_from` takes the backbone of one.
"""

from collections.abc import Callable
from functools import partial

import flax.struct
import jax
import jax.numpy as jnp
from optax import sigmoid_binary_cross_entropy as binary_cross_entropy

from jaxdet import anchors, assign, codec
from jaxdet.detectors.detector import Detector, Losses
from jaxdet.detectors.net import Net
from jaxdet.types import Anchors, Array, Objects, Raw, Targets


@flax.struct.dataclass
class TargetsAndClasses(Targets):
    """Targets of the whole picture, and how much of every class is in it."""

    present: Array  # [K] the largest weight of an object of the class, else 0


def classifier(
    net: Callable[[tuple[int, ...]], Net], *, size: int, classes: tuple[str, ...], select: partial
) -> Detector:
    """A classifier of pictures with any number of classes in each, as VOC's classification task.

    `net` makes the network; `select` is `nms.multiclass` with its thresholds. A class that is found
    has the whole picture for its box.
    """
    return Detector(
        net=net((1,)),
        size=size,
        classes=classes,
        anchors=_whole_picture,
        assign=partial(_assign, count=len(classes)),
        losses=_losses,
        decode=_decode,
        nms=select,
    )


def _whole_picture(grids, size) -> Anchors:
    """One cell, whatever the grids, and a prior as large."""
    return anchors.prior_boxes(((1, 1),), size, priors=[[(size, size)]])


def _assign(anchors: Anchors, objects: Objects, *, count: int) -> TargetsAndClasses:
    weight = jnp.where(objects.mask, objects.weight, 0.0)  # [N]
    of_class = jax.nn.one_hot(objects.labels, count) * weight[:, None]  # [N, K]
    present = of_class.max(axis=0, initial=0.0)
    return TargetsAndClasses(**vars(assign.by_cell(anchors, objects)), present=present)


def _losses(raw: Raw, targets: TargetsAndClasses, anchors: Anchors) -> Losses:
    """Binary cross entropy of every class, summed over the classes, counted in pictures."""
    total = binary_cross_entropy(raw.logits[:, 0], targets.present).sum()
    return {"class": (total, jnp.full((), len(raw.logits), raw.logits.dtype))}


def _decode(raw: Raw, anchors: Anchors) -> tuple[jax.Array, jax.Array]:
    return codec.decode(raw.boxes, anchors.boxes), jax.nn.sigmoid(raw.logits)
