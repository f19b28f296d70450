"""Pooling as in PyTorch, in forms that are fast to differentiate."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxdet import backend
from jaxdet.layers.precision import full


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
    edges = _edges(x, size, stride, padding, round_up)
    if backend.target() in ("tpu", "portable"):  # ours would move more memory on a TPU
        return _reduce_windows(x, -jnp.inf, lax.max, size, stride, edges)
    x = lax.pad(x, jnp.array(-jnp.inf, x.dtype), edges)
    return _max_of_windows(x, size, stride)


def average_pool(
    x: jax.Array, size: int, *, stride: int, padding: int = 0, round_up: bool = False
) -> jax.Array:
    """The mean of every size x size window of x [B, H, W, C].

    There are `padding` pixels of zero on every side, which count. A window that does not fit whole
    is left out, or kept if `round_up` (PyTorch's ceil_mode); what it has beyond the padding does
    not count. The sums are at least float32.
    """
    edges = _edges(x, size, stride, padding, round_up)
    if backend.target() in ("tpu", "portable"):
        total = _reduce_windows(full(x), 0.0, lax.add, size, stride, edges)
    else:
        total = sum(_shifted(full(lax.pad(x, jnp.zeros((), x.dtype), edges)), size, stride))
    counts = []  # along both axes
    for axis in (1, 2):
        left = x.shape[axis] + 2 * padding - stride * np.arange(total.shape[axis])
        counts.append(np.minimum(left, size))
    share = (1 / np.outer(*counts)).astype(total.dtype)
    return (total * share.reshape(1, *share.shape, 1)).astype(x.dtype)


def _edges(x, size, stride, padding, round_up):
    """What to add around x, for `lax.pad`; negative where windows do not reach the border."""
    before, after = (padding, padding) if isinstance(padding, int) else padding
    edges = [(0, 0, 0)] * 4
    for axis in (1, 2):
        over = (x.shape[axis] + before + after - size) % stride
        more = stride - over if round_up and over else -over
        edges[axis] = (before, after + more, 0)
    return edges


def _reduce_windows(x, start, function, size, stride, edges):
    """`reduce_window` leaves out windows that do not fit: edges need no cropping here."""
    around = [(low, max(low, high)) for low, high, _ in edges]
    window, strides = (1, size, size, 1), (1, stride, stride, 1)
    return lax.reduce_window(x, start, function, window, strides, around)


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


def spatial_pyramid_pool(
    x: jax.Array, sizes: Sequence[int] = (5, 9, 13), *, input_first: bool
) -> jax.Array:
    """x [B, H, W, C] and its maxima over windows of `sizes`, joined: [B, H, W, C (1 + sizes)].

    The windows are centred on every pixel and end at the border. The order of joining is the input,
    then rising sizes (YOLOX, ASFF) if `input_first`, else falling sizes, the input last (YOLOv4).
    Each pooling starts from the one before: three of 5x5 in a row are windows of 5, 9 and 13. Of
    equal maxima one gets the gradient. YOLOv4 (arXiv:2004.10934, section 2.3), after He et al. 2014
    (arXiv:1406.4729). ValueError unless the sizes are odd and rise from 3 at least.
    """
    maps, reach = [x], 1
    for size in sizes:
        if size % 2 == 0 or size <= reach:
            raise ValueError(f"the pools' sizes are {tuple(sizes)}, expected rising odd numbers")
        maps.append(_max_around(maps[-1], size - reach + 1))
        reach = size
    return jnp.concatenate(maps if input_first else maps[::-1], axis=-1)


def _max_around(x: jax.Array, size: int) -> jax.Array:
    """The maximum of the size x size window around every pixel; `size` is odd."""
    if backend.target() in ("tpu", "portable"):
        return max_pool(x, size, stride=1, padding=size // 2)
    return _max_along(_max_along(x, size, 2), size, 1)  # first the columns of a row, then the rows


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _max_along(x: jax.Array, size: int, axis: int) -> jax.Array:
    """The maximum of `size` pixels around every pixel, along one axis."""
    return _along_forward(x, size, axis)[0]


def _framed(x: jax.Array, outside: float, size: int, axis: int) -> jax.Array:
    """x with the value `outside` around it on one axis, as far as a window of `size` reaches."""
    edges = [(0, 0, 0)] * x.ndim
    edges[axis] = (size // 2, size // 2, 0)
    return lax.pad(x, jnp.array(outside, x.dtype), edges)


def _taps(framed: jax.Array, size: int, axis: int) -> list[jax.Array]:
    """What each tap of a window of `size` sees along one axis, first to last."""
    side = framed.shape[axis] - size + 1
    return [lax.slice_in_dim(framed, tap, tap + side, axis=axis) for tap in range(size)]


def _along_forward(x, size, axis):
    """Also returns the tap that gets the gradient, the first of equal ones."""
    y, *others = _taps(_framed(x, -jnp.inf, size, axis), size, axis)
    first = jnp.zeros(y.shape, jnp.uint8)
    for tap, seen in enumerate(others, start=1):
        first = jnp.where(seen > y, jnp.uint8(tap), first)
        y = jnp.maximum(y, seen)
    return y, first


def _along_backward(size, axis, first, dy):
    """Every pixel collects the gradients of the windows in which it was the maximum."""
    framed = _framed(first, 255, size, axis), _framed(dy, 0, size, axis)
    # Without the barrier XLA pools anew for every tap: on a CPU fifteen times slower.
    framed = lax.optimization_barrier(framed)
    seen, zero = zip(*(_taps(x, size, axis) for x in framed), strict=True), jnp.zeros((), dy.dtype)
    return (sum(jnp.where(f == size - 1 - tap, d, zero) for tap, (f, d) in enumerate(seen)),)


_max_along.defvjp(_along_forward, _along_backward)
