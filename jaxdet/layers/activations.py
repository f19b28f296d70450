"""Activations: `activation="NAME"` in a recipe selects the function NAME.

Each takes and returns maps [B, H, W, C] in any floating dtype.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp


def identity(x: jax.Array) -> jax.Array:
    """x itself: a linear layer."""
    return x


def relu(x: jax.Array) -> jax.Array:
    """x where positive, else 0 (Nair and Hinton 2010)."""
    return nn.relu(x)


def relu6(x: jax.Array) -> jax.Array:
    """x between 0 and 6; the gradient at both ends is zero, as in PyTorch."""
    return jax.lax.clamp(jnp.zeros((), x.dtype), x, jnp.full((), 6, x.dtype))


def leaky_relu(x: jax.Array) -> jax.Array:
    """x where positive, else a tenth of it (YOLO, arXiv:1506.02640, equation 2)."""
    return nn.leaky_relu(x, negative_slope=0.1)


def sigmoid(x: jax.Array) -> jax.Array:
    """1 / (1 + exp(-x))."""
    return jax.nn.sigmoid(x)


def hard_sigmoid(x: jax.Array) -> jax.Array:
    """Linear from 0 at -3 to 1 at 3 (Howard et al. 2019, arXiv:1905.02244, section 5.2)."""
    return relu6(x + 3) / 6


def swish(x: jax.Array) -> jax.Array:
    """x times its sigmoid, also called SiLU (Ramachandran et al. 2017, arXiv:1710.05941)."""
    return nn.swish(x)


def hard_swish(x: jax.Array) -> jax.Array:
    """x times its hard sigmoid (arXiv:1905.02244, section 5.2)."""
    return x * hard_sigmoid(x)
