"""Class losses: `class_loss="NAME"` in a recipe selects the function NAME.

Each takes logits [..., C] and the target probabilities [..., C], and returns the loss [...].
`label_smoothing` is the share of a target that is spread evenly over all outcomes (Szegedy et al.
2015, arXiv:1512.00567, section 7): the C classes of a softmax, or else the presence and the absence
of each class, so that with 0.1 the targets are 0.95 and 0.05, as with darknet's `label_smooth_eps`.
ValueError unless it is in [0, 1).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jaxdet.types import Array

ClassLoss = Callable[[Array, Array], Array]


def cross_entropy(logits: Array, targets: Array, *, label_smoothing: float = 0.0) -> Array:
    """The softmax cross entropy: the classes are mutually exclusive."""
    return _cross_entropy(logits, _smoothed(targets, label_smoothing, targets.shape[-1]))


@jax.custom_vjp
def _cross_entropy(logits, targets):
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


_cross_entropy.defvjp(_cross_entropy_forward, _cross_entropy_backward)


def bce(logits: Array, targets: Array, *, label_smoothing: float = 0.0) -> Array:
    """The binary cross entropy of every class, summed: the classes are independent."""
    targets = _smoothed(targets, label_smoothing, 2)
    return optax.sigmoid_binary_cross_entropy(logits, targets).sum(axis=-1)


def focal(
    logits: Array,
    targets: Array,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
    label_smoothing: float = 0.0,
) -> Array:
    """The focal loss of every class, summed (Lin et al. 2017, arXiv:1708.02002, equation 5).

    The binary cross entropy times (1 - p)^gamma, where p is the probability of what is right, times
    `alpha` where the class is present and 1 - `alpha` where it is not; a negative `alpha` leaves
    this weighting out. Of targets between 0 and 1 the factors are in proportion.
    """
    targets = _smoothed(targets, label_smoothing, 2)
    present, absent = jax.nn.sigmoid(logits), jax.nn.sigmoid(-logits)
    wrong = present * (1 - targets) + absent * targets  # 1 - p, exact however small
    wrong = jnp.maximum(wrong, jnp.finfo(wrong.dtype).tiny)  # at 0 some powers have no slope
    loss = wrong**gamma * optax.sigmoid_binary_cross_entropy(logits, targets)
    if alpha >= 0:
        loss = loss * (alpha * targets + (1 - alpha) * (1 - targets))
    return loss.sum(axis=-1)


def _smoothed(targets: Array, amount: float, outcomes: int) -> Array:
    """Targets of which the share `amount` is spread evenly over the possible outcomes."""
    if not 0 <= amount < 1:
        raise ValueError(f"label_smoothing is {amount}, expected at least 0 and less than 1")
    return targets * (1 - amount) + amount / outcomes if amount else targets
