"""Activations: `activation="NAME"` in a recipe selects the function NAME.

Each takes and returns maps [B, H, W, C] in any floating dtype; maxout's have fewer channels.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdet import backend
from jaxdet.layers.precision import full


def identity(x: jax.Array) -> jax.Array:
    """x itself: a linear layer."""
    return x


def relu(x: jax.Array) -> jax.Array:
    """x where positive, else 0 (Nair and Hinton 2010)."""
    return nn.relu(x)


def relu6(x: jax.Array) -> jax.Array:
    """x between 0 and 6; the gradient at both ends is zero, as in PyTorch."""
    low, high = jnp.zeros((), x.dtype), jnp.full((), 6, x.dtype)
    if backend.target() == "portable":  # jax2onnx cannot clamp in a batch of any size
        return jax.lax.min(jax.lax.max(x, low), high)
    return jax.lax.clamp(low, x, high)


def leaky_relu(x: jax.Array) -> jax.Array:
    """x where positive, else a tenth of it (YOLO, arXiv:1506.02640, equation 2)."""
    if backend.target() == "portable":  # what exporters know as one operation
        return jnp.maximum(x, 0.1 * x)
    return jnp.where(x > 0, x, 0.1 * x)  # at 0 the slope is a tenth, as in Darknet and PyTorch


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


def gelu(x: jax.Array, *, approximate: bool = False) -> jax.Array:
    """x times the share of a normal distribution below x (arXiv:1606.08415).

    With `approximate` its form with a hyperbolic tangent, which Darknet has.
    """
    return jax.nn.gelu(x, approximate=approximate)


def maxout(x: jax.Array, *, pieces: int = 2) -> jax.Array:
    """The maximum over groups of channels: of k, k + C, k + 2 C ..., where C are left.

    Goodfellow et al. 2013, arXiv:1302.4389; in Darknet a pooling with `maxpool_depth`. The layer
    before has `pieces` times the channels (`blocks.pieces_of`), so that a network keeps its counts.
    ValueError unless the channels are a multiple of `pieces`.
    """
    if x.shape[-1] % pieces:
        raise ValueError(f"{x.shape[-1]} channels cannot be {pieces} pieces of maxout")
    return functools.reduce(jnp.maximum, jnp.split(x, pieces, axis=-1))


@jax.custom_vjp
def mish(x: jax.Array) -> jax.Array:
    """x times the hyperbolic tangent of softplus(x) (Misra 2019, arXiv:1908.08681)."""
    return (full(x) * _mish_gate(full(x))[0]).astype(x.dtype)


def _mish_gate(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """tanh(softplus(x)), as n / (n + 2) with n = e^x (e^x + 2), and its slope.

    From 20 on it is 1 to all digits, even in float64; e^x would overflow later.
    """
    exponential = jnp.exp(jnp.minimum(x, 20))
    n = exponential * (exponential + 2)
    inverse = 1 / (n + 2)
    return n * inverse, 4 * exponential * (exponential + 1) * jnp.square(inverse)


def _mish_forward(x):
    return mish(x), x


def _mish_backward(x, dy):
    """Computed anew from x: that takes less memory than to keep the exponential."""
    gate, slope = _mish_gate(full(x))
    return ((full(dy) * (gate + full(x) * slope)).astype(x.dtype),)


mish.defvjp(_mish_forward, _mish_backward)
