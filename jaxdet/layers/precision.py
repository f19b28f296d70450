"""At which precision a layer computes, and shapes that go with maps [B, H, W, C]."""

import jax
import jax.numpy as jnp


def full(x: jax.Array) -> jax.Array:
    """x with float32 precision at least: sums over pixels need it."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def as_map(channels: jax.Array) -> jax.Array:
    """Channels [C] as a map [1, 1, 1, C]."""
    return channels.reshape(1, 1, 1, -1)
