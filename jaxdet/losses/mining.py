"""Hard-negative mining (SSD, section 2.2)."""

import jax.numpy as jnp
from jax import lax

from jaxdet.types import Array


def hard_negatives(
    background_loss: Array, positive: Array, ignore: Array, *, ratio: float = 3
) -> Array:
    """Selects the negatives [A] of one image that count: the hardest, `ratio` per positive.

    They are ranked by `background_loss` [A], which is not negative; of equal ones the first are
    taken, so the number is never exceeded. No gradient flows through the selection.
    """
    budget = ratio * positive.sum()
    # Non-negative floats have the same order as their bits read as integers.
    bits = lax.bitcast_convert_type(jnp.maximum(background_loss, 0).astype(jnp.float32), jnp.int32)
    bits = jnp.where(positive | ignore, -1, bits)
    threshold = _reached_by(bits, budget)
    above, tied = bits > threshold, bits == threshold
    return above | (tied & (jnp.cumsum(tied) <= budget - above.sum()))


def _reached_by(keys: Array, count: Array) -> Array:
    """The largest t that at least `count` of the int32 keys [A] reach; 0 if fewer are above 0.

    It is found bit by bit, in 31 passes over the keys, which vectorise; a sort would not.
    """

    def step(i, low):
        trial = low | (1 << (30 - i))
        return jnp.where((keys >= trial).sum() >= count, trial, low)

    return lax.fori_loop(0, 31, step, jnp.int32(0))
