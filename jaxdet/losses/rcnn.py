"""The losses of Faster R-CNN's two stages: sums over what was drawn; the counts are its number.

The drawing is what balances positives and negatives, so nothing is mined. The loss of a positive is
multiplied by its object's weight (less than 1 under mixup). At least float32, whatever the
network's dtype.
"""

import jax
import jax.numpy as jnp
from optax import sigmoid_binary_cross_entropy as binary_cross_entropy

from jaxdet.boxes.codecs import Codec
from jaxdet.losses.box import BoxLoss
from jaxdet.losses.classes import ClassLoss
from jaxdet.losses.scores import class_losses
from jaxdet.types import Anchors, Array, Losses, Raw, Targets


def rpn(
    raw: Raw, targets: Targets, drawn: Array, anchors: Anchors, *, codec: Codec, box_loss: BoxLoss
) -> Losses:
    """The losses of region proposals (Faster R-CNN, equation 1): whether there is an object, by the
    binary cross entropy of the logits [B, A, 1], and the `box_loss` of positives.

    Targets and `drawn` are [B, A], anchors [A]. Both terms are divided by the number drawn, as in
    torchvision.
    """
    raw, weight, positive_weight = _prepared(raw, targets, drawn)
    present = targets.positive.astype(raw.logits.dtype)
    of_object = binary_cross_entropy(raw.logits[..., 0], present)  # [B, A]
    of_box = box_loss(raw.boxes, targets.boxes, anchors, codec)
    count = drawn.sum()
    return {
        "rpn_class": ((of_object * weight).sum(), count),
        "rpn_box": ((of_box * positive_weight).sum(), count),
    }


def roi(
    raw: Raw,
    targets: Targets,
    drawn: Array,
    anchors: Anchors,
    *,
    codec: Codec,
    box_loss: BoxLoss,
    class_loss: ClassLoss,
) -> Losses:
    """The losses of regions (Fast R-CNN, equation 1): the `class_loss`, and the `box_loss` of a
    positive's code of its true class.

    raw.boxes are [B, R, K, 4]; raw.logits [B, R, K + 1] have the background in column 0. Targets
    and `drawn` are [B, R], and so are the anchors, which are the regions. Both terms are divided by
    the number drawn, as in torchvision.
    """
    raw, weight, positive_weight = _prepared(raw, targets, drawn)
    of_class = class_losses(raw.logits, targets, class_loss)  # [B, R]
    true_class = targets.labels[..., None, None]
    outputs = jnp.take_along_axis(raw.boxes, true_class, axis=2, mode="clip")[:, :, 0]  # [B, R, 4]
    of_box = box_loss(outputs, targets.boxes, anchors, codec)
    count = drawn.sum()
    return {
        "class": ((of_class * weight).sum(), count),
        "box": ((of_box * positive_weight).sum(), count),
    }


def _prepared(raw: Raw, targets: Targets, drawn: Array) -> tuple[Raw, Array, Array]:
    """Outputs in at least float32; the factors [B, A] of all that is drawn and of its positives."""
    full = jnp.promote_types(raw.logits.dtype, jnp.float32)
    raw = jax.tree.map(lambda x: x.astype(full), raw)
    weight = jnp.where(targets.positive, targets.weight, 1.0)
    return raw, jnp.where(drawn, weight, 0.0), jnp.where(drawn & targets.positive, weight, 0.0)
