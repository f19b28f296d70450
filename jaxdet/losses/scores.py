"""How a class loss reads logits, which whoever uses the logits must do alike."""

import jax
import jax.numpy as jnp
from jax import lax

from jaxdet.losses import classes
from jaxdet.losses.classes import ClassLoss
from jaxdet.types import Array, Targets

_SOFTMAX = (classes.cross_entropy,)


def is_softmax(class_loss: ClassLoss) -> bool:
    """Whether the classes are mutually exclusive: if not, each has a sigmoid of its own."""
    return getattr(class_loss, "func", class_loss) in _SOFTMAX  # func: if it is a partial


def class_scores(logits: Array, class_loss: ClassLoss) -> jax.Array:
    """The scores [..., C] of logits [..., C] that are trained with `class_loss`."""
    return jax.nn.softmax(logits) if is_softmax(class_loss) else jax.nn.sigmoid(logits)


def class_losses(logits: Array, targets: Targets, class_loss: ClassLoss) -> jax.Array:
    """The `class_loss` [B, A] of logits [B, A, K + 1] with the background in column 0.

    What is not positive is background. Only to a softmax that is a class; for other losses column 0
    is left out, and background is of no class.
    """
    first = 1  # the column of class 0
    if not is_softmax(class_loss):
        logits, first = logits[..., 1:], 0
    # The barrier keeps XLA from computing the labels anew for every class.
    labels = lax.optimization_barrier(jnp.where(targets.positive, targets.labels, -1) + first)
    return class_loss(logits, jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype))
