"""The precision in which layers compute, and shapes that fit maps [B, H, W, C]."""

import jax
import jax.numpy as jnp


def full(x: jax.Array) -> jax.Array:
    """x in at least float32, which sums over pixels need."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def as_map(channels: jax.Array) -> jax.Array:
    """Channels [C] as a map [1, 1, 1, C]."""
    return channels.reshape(1, 1, 1, -1)
