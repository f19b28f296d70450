"""How a class loss reads logits, which whoever uses the logits must do alike."""

import jax

from jaxdet.losses import classes
from jaxdet.losses.classes import ClassLoss
from jaxdet.types import Array

_SOFTMAX = (classes.cross_entropy,)


def is_softmax(class_loss: ClassLoss) -> bool:
    """Whether the classes are mutually exclusive: if not, each has a sigmoid of its own."""
    return getattr(class_loss, "func", class_loss) in _SOFTMAX  # func: if it is a partial


def class_scores(logits: Array, class_loss: ClassLoss) -> jax.Array:
    """The scores [..., C] of logits [..., C] that are trained with `class_loss`."""
    return jax.nn.softmax(logits) if is_softmax(class_loss) else jax.nn.sigmoid(logits)
