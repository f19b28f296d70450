"""SSD's multibox loss (paper, section 2.2), as sums and counts: the caller divides, once."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from jaxdet.boxes.codecs import Codec
from jaxdet.losses.box import BoxLoss, smooth_l1
from jaxdet.losses.classes import ClassLoss, cross_entropy
from jaxdet.losses.mining import hard_negatives
from jaxdet.losses.scores import class_losses
from jaxdet.types import Anchors, Losses, Objects, Raw, Targets


def multibox(
    raw: Raw,
    targets: Targets,
    objects: Objects,
    anchors: Anchors,
    *,
    codec: Codec,
    box_loss: BoxLoss = smooth_l1,
    class_loss: ClassLoss = cross_entropy,
    negative_ratio: float = 3,
) -> Losses:
    """Box and class loss of a batch; the count is the number of positives in the batch.

    raw.logits [B, A, K + 1] have the background in column 0, targets are [B, A, ...]. Boxes: the
    `box_loss` of positive anchors. Classes: the `class_loss` of positive anchors and of
    `negative_ratio` times as many hard negatives, chosen per image; with 0 there is no mining and
    all negatives count. See `class_losses` for the background. A positive is weighted by its
    object's weight. At least float32, whatever the network's dtype.
    """
    del objects  # the targets contain all of them
    full = jnp.promote_types(raw.logits.dtype, jnp.float32)
    logits, outputs = raw.logits.astype(full), raw.boxes.astype(full)
    of_class = class_losses(logits, targets, class_loss)  # [B, A]
    if negative_ratio:  # for negatives of_class is the loss of the background, which ranks them
        negative = jax.vmap(partial(hard_negatives, ratio=negative_ratio))(
            lax.stop_gradient(of_class), targets.positive, targets.ignore
        )
    else:
        negative = ~targets.positive & ~targets.ignore
    weight = jnp.where(targets.positive, targets.weight, 0.0)  # [B, A]
    of_box = box_loss(outputs, targets.boxes, anchors, codec)  # [B, A]
    count = targets.positive.sum()
    return {
        "box": ((of_box * weight).sum(), count),
        "class": ((of_class * jnp.where(negative, 1.0, weight)).sum(), count),
    }
