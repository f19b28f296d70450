"""Random draws of a fixed number of anchors or regions, for the losses of Faster R-CNN."""

import jax
import jax.numpy as jnp
from jax import lax

from jaxdet.types import Array


def draw(
    key: jax.Array, positive: Array, negative: Array, *, count: int, share: float
) -> tuple[Array, Array]:
    """Draws `count` of the anchors [A] of one image: positives [A] and negatives [A], two masks.

    Of the `positive` at most the `share` of `count`, at random and all alike, then of the
    `negative` as many as are missing (Faster R-CNN, section 3.1.3). If there are fewer, fewer are
    drawn. For a batch, `jax.vmap` with a key for each image.
    """
    chance = jax.random.uniform(key, positive.shape)
    positives = _highest(chance, positive, int(count * share), most=int(count * share))
    missing = count - positives.sum()
    return positives, _highest(chance, negative, missing, most=count)


def places(drawn: Array, *, count: int) -> tuple[Array, Array]:
    """Where `drawn` [A] is true: the first `count` indices, rising, and which of them are valid.

    Both are [count], or [A] if that is less. An index that is not valid is one of a row that is not
    drawn, so all of them differ.
    """
    found, index = lax.top_k(drawn.astype(jnp.float32), min(count, len(drawn)))
    return index, found > 0  # of equal numbers top_k takes the first


def _highest(chance: Array, eligible: Array, count: Array | int, *, most: int) -> Array:
    """Marks [A] the `count`, at most `most`, of the `eligible` [A] with the highest `chance` [A].

    top_k takes a tenth of the time of a threshold found bit by bit (of 268,000 on a CPU).
    """
    highest, index = lax.top_k(jnp.where(eligible, chance, -1.0), min(most, len(chance)))
    taken = (highest >= 0) & (jnp.arange(len(index)) < count)
    nowhere = jnp.zeros(chance.shape, bool)
    return nowhere.at[jnp.where(taken, index, len(chance))].set(True, mode="drop")
