"""Hard-negative mining (SSD, section 2.2)."""

import jax.numpy as jnp
from jax import lax

from jaxdet.types import Array


def hard_negatives(
    background_loss: Array, positive: Array, ignore: Array, *, ratio: float = 3
) -> Array:
    """The negatives [A] of one image that count: `ratio` per positive, the worst of them.

    Ranked by `background_loss` [A], not negative; of equal ones the first, so the number is never
    exceeded. No gradient flows through the choice.
    """
    budget = ratio * positive.sum()
    # The bits of a float that is not negative rank as the float does.
    bits = lax.bitcast_convert_type(jnp.maximum(background_loss, 0).astype(jnp.float32), jnp.int32)
    bits = jnp.where(positive | ignore, -1, bits)
    threshold = _reached_by(bits, budget)
    above, tied = bits > threshold, bits == threshold
    return above | (tied & (jnp.cumsum(tied) <= budget - above.sum()))


def _reached_by(keys: Array, count: Array) -> Array:
    """The largest t that at least `count` of the int32 keys [A] reach; 0 if fewer are above 0.

    Found bit by bit: 31 passes over the keys that vectorise, where a sort would not.
    """

    def step(i, low):
        trial = low | (1 << (30 - i))
        return jnp.where((keys >= trial).sum() >= count, trial, low)

    return lax.fori_loop(0, 31, step, jnp.int32(0))
