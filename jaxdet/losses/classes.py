"""Class losses: `class_loss="NAME"` in a recipe selects the function NAME.

Each takes logits [..., C] and the target probabilities [..., C], and returns the loss [...].
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jaxdet.types import Array

ClassLoss = Callable[[Array, Array], Array]


@jax.custom_vjp
def cross_entropy(logits: Array, targets: Array) -> Array:
    """The softmax cross entropy: the classes are mutually exclusive."""
    return _cross_entropy_forward(logits, targets)[0]


def _cross_entropy_forward(logits, targets):
    normaliser = jax.nn.logsumexp(logits, axis=-1)
    loss = normaliser - (logits * targets).sum(axis=-1)
    return loss, (logits, targets, normaliser)


def _cross_entropy_backward(saved, gradient):
    """Written out, as JAX's own takes half as long again for SSD's loss on a CPU."""
    logits, targets, normaliser = saved
    gradient = gradient[..., None]
    return (jnp.exp(logits - normaliser[..., None]) - targets) * gradient, -logits * gradient


cross_entropy.defvjp(_cross_entropy_forward, _cross_entropy_backward)


def bce(logits: Array, targets: Array) -> Array:
    """The binary cross entropy of every class, summed: the classes are independent."""
    return optax.sigmoid_binary_cross_entropy(logits, targets).sum(axis=-1)
