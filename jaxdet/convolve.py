"""Convolutions, in the form that is fast on the backend at hand."""

import jax
from jax import lax


def conv(
    x: jax.Array, kernel: jax.Array, *, stride: int = 1, padding: int = 0, dilation: int = 1
) -> jax.Array:
    """x [B, H, W, I] with a kernel [k, k, I, O], `padding` pixels of zeros on every side."""
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(padding, padding)] * 2,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def depthwise(x: jax.Array, kernel: jax.Array, *, stride: int = 1) -> jax.Array:
    """x [B, H, W, C] with a kernel [3, 3, 1, C], a pixel of zeros on every side."""
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(1, 1)] * 2,
        feature_group_count=x.shape[-1],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
