"""Class losses: `class_loss="NAME"` in a recipe selects the function NAME.

Each takes logits [..., C] and the target probabilities [..., C], and returns the loss [...].
"""

from collections.abc import Callable

import jax
import optax

from jaxdet.types import Array

ClassLoss = Callable[[Array, Array], Array]


def cross_entropy(logits: Array, targets: Array) -> Array:
    """The softmax cross entropy: the classes are mutually exclusive."""
    return jax.nn.logsumexp(logits, axis=-1) - (logits * targets).sum(axis=-1)


def bce(logits: Array, targets: Array) -> Array:
    """The binary cross entropy of every class, summed: the classes are independent."""
    return optax.sigmoid_binary_cross_entropy(logits, targets).sum(axis=-1)
