"""Max pooling as in PyTorch, in a form that is fast to differentiate."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from jaxdet import backend


def max_pool(
    x: jax.Array,
    size: int,
    *,
    stride: int,
    padding: int | tuple[int, int] = 0,
    round_up: bool = False,
) -> jax.Array:
    """The maximum of every size x size window of x [B, H, W, C].

    There are `padding` pixels of -inf on every side, or (before, after) in each direction. A window
    that does not fit whole is left out, or kept if `round_up` (PyTorch's ceil_mode). Of equal
    maxima the first, row by row, gets the gradient.
    """
    before, after = (padding, padding) if isinstance(padding, int) else padding
    edges = [(0, 0, 0)] * 4
    for axis in (1, 2):
        over = (x.shape[axis] + before + after - size) % stride
        more = stride - over if round_up and over else -over
        edges[axis] = (before, after + more, 0)
    if backend.target() in ("tpu", "portable"):  # ours would move more memory on a TPU
        # `reduce_window` leaves out windows that do not fit: edges need no cropping here.
        around = [(low, max(low, high)) for low, high, _ in edges]
        window, strides = (1, size, size, 1), (1, stride, stride, 1)
        return lax.reduce_window(x, -jnp.inf, lax.max, window, strides, around)
    x = lax.pad(x, jnp.array(-jnp.inf, x.dtype), edges)
    return _max_of_windows(x, size, stride)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _max_of_windows(x: jax.Array, size: int, stride: int) -> jax.Array:
    """Max pooling as the maximum of shifted maps; the windows cover all of x."""
    return _forward(x, size, stride)[0]


def _shifted(x: jax.Array, size: int, stride: int) -> list[jax.Array]:
    """What each tap of the windows sees, row by row."""
    height, width = (side - size + 1 for side in x.shape[1:3])
    return [
        x[:, i : height + i : stride, j : width + j : stride]
        for i in range(size)
        for j in range(size)
    ]


def _forward(x, size, stride):
    """Also returns the tap that gets the gradient.

    It is found by comparing with the maximum so far, not by searching for y later: y computed twice
    may be rounded differently, and nothing be equal.
    """
    y, *others = _shifted(x, size, stride)
    first = jnp.zeros(y.shape, jnp.uint8)
    for tap, seen in enumerate(others, start=1):
        first = jnp.where(seen > y, jnp.uint8(tap), first)
        y = jnp.maximum(y, seen)
    return y, first


def _backward(size, stride, first, dy):
    spread = _spread_disjoint if size == stride else _spread_overlapping
    height, width = ((side - 1) * stride + size for side in dy.shape[1:3])
    return (spread(dy, first, (dy.shape[0], height, width, dy.shape[3]), size, stride),)


def _spread_disjoint(dy, first, shape, size, stride):
    """For disjoint windows: every pixel checks if it was the maximum; one pass over memory."""
    windows = (dy.shape[0], dy.shape[1], size, dy.shape[2], size, dy.shape[3])
    row, column = (lax.broadcasted_iota(jnp.uint8, windows, axis) for axis in (2, 4))
    mine = first[:, :, None, :, None] == row * jnp.uint8(size) + column
    return jnp.where(mine, dy[:, :, None, :, None], jnp.zeros((), dy.dtype)).reshape(shape)


def _spread_overlapping(dy, first, shape, size, stride):
    """For overlapping windows: the sum over the taps of the gradients each passes back."""
    zero, dx = jnp.zeros((), dy.dtype), jnp.zeros(shape, dy.dtype)
    for tap in range(size * size):
        edges = [(0, 0, 0)] * 4
        for axis, start in zip((1, 2), divmod(tap, size), strict=True):
            end = start + (dy.shape[axis] - 1) * stride + 1
            edges[axis] = (start, shape[axis] - end, stride - 1)
        dx += lax.pad(jnp.where(first == tap, dy, zero), zero, edges)
    return dx


_max_of_windows.defvjp(_forward, _backward)
