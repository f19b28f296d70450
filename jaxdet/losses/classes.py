"""Class losses: `class_loss="NAME"` in a recipe is the function of that name.

Each takes logits [..., C] and the targets [..., C], the share of every class in 0..1, and returns
the loss [...].
"""

from collections.abc import Callable

import jax
import optax

from jaxdet.types import Array

ClassLoss = Callable[[Array, Array], Array]


def cross_entropy(logits: Array, targets: Array) -> Array:
    """The cross entropy of the softmax: the classes exclude one another."""
    return jax.nn.logsumexp(logits, axis=-1) - (logits * targets).sum(axis=-1)


def bce(logits: Array, targets: Array) -> Array:
    """The binary cross entropy of every class, summed: the classes are independent."""
    return optax.sigmoid_binary_cross_entropy(logits, targets).sum(axis=-1)
