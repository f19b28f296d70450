"""Convolutions, in the form that is fast on the backend at hand: lax's own, except on the CPU.

There XLA's depthwise convolution is one to two orders of magnitude slower than shifted
multiply-adds, which fuse into one pass over memory, and the gradient of a 3x3 kernel takes about
twice as long as the sum of matrix products that it is. The choice is made when a function is
traced. Both forms give the same numbers up to rounding (`benchmarks/convolve.py` times them).
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

_LAYOUT = ("NHWC", "HWIO", "NHWC")

Padding = tuple[tuple[int, int], tuple[int, int]]  # above and below, left and right


def conv(
    x: jax.Array, kernel: jax.Array, *, stride: int = 1, padding: int = 0, dilation: int = 1
) -> jax.Array:
    """x [B, H, W, I] with a kernel [k, k, I, O], `padding` pixels of zeros on every side."""
    if kernel.shape[:2] == (1, 1) and stride == 1 and padding == 0:
        # As a matrix product, of two axes: with four, XLA transposes x for the kernel's gradient.
        return (x.reshape(-1, x.shape[3]) @ kernel[0, 0]).reshape(*x.shape[:3], -1)
    # The heads' few output channels are better off with lax's form.
    if jax.default_backend() == "cpu" and stride == 1 and kernel.shape[3] >= kernel.shape[2]:
        return conv_banded(x, kernel, padding, dilation)
    return conv_lax(x, kernel, stride, padding, dilation)


def conv_lax(
    x: jax.Array, kernel: jax.Array, stride: int, padding: int, dilation: int
) -> jax.Array:
    """`conv` as XLA has it."""
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(padding, padding)] * 2,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=_LAYOUT,
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv_banded(x: jax.Array, kernel: jax.Array, padding: int, dilation: int) -> jax.Array:
    """`conv` at stride 1, whose kernel gradient is summed over bands of rows that fit the cache."""
    return conv_lax(x, kernel, 1, padding, dilation)


def _banded_forward(x, kernel, padding, dilation):
    return conv_banded(x, kernel, padding, dilation), (x, kernel)


def _banded_backward(padding, dilation, saved, dy):
    x, kernel = saved
    (dx,) = jax.vjp(lambda x: conv_lax(x, kernel, 1, padding, dilation), x)[1](dy)
    return dx, _banded_gradient(x, dy, kernel.shape[0], padding, dilation)


conv_banded.defvjp(_banded_forward, _banded_backward)


def _banded_gradient(x, dy, size, padding, dilation):
    """The sum over all pixels of what each tap saw times dy, as one matrix product a band.

    A tap sees x moved sideways by its column and, what comes to the same, dy moved up by its row:
    x beside itself k times and dy beside itself k times give all k x k taps in one product.
    """
    batch, height, width, features = dy.shape
    # A band's copies are three times as large as 2**18 numbers: of 2**16 to 2**20 the fastest.
    rows = max(1, 2**18 // (width * max(x.shape[3], features)))
    halo = dilation * (size - 1)
    bands = -(-(height + halo) // rows)
    rows = -(-(height + halo) // bands)  # bands of one size, with as little filled up as can be
    moves = range(0, halo + 1, dilation)

    def add_band(i, total):
        picture, top = i // bands, i % bands * rows
        seen = _rows(x, picture, top - padding, rows, padding)
        band = _rows(dy, picture, top - halo, rows + halo, 0)
        sideways = jnp.concatenate([seen[:, v : v + width] for v in moves], axis=-1)
        upwards = jnp.concatenate([band[halo - u : halo - u + rows] for u in moves], axis=-1)
        pixels = rows * width
        return total + jnp.einsum(
            "pi,po->io",
            sideways.reshape(pixels, -1),
            upwards.reshape(pixels, -1),
            preferred_element_type=total.dtype,
        )

    full = jnp.promote_types(x.dtype, jnp.float32)
    zeros = jnp.zeros((size * x.shape[3], size * features), full)
    total = lax.fori_loop(0, batch * bands, add_band, zeros)
    total = total.reshape(size, x.shape[3], size, features)  # column, input, row, output
    return total.transpose(2, 0, 1, 3).astype(x.dtype)


def _rows(x, picture, top, count, sides):
    """`count` rows of one picture from `top` on, with zeros outside it and `sides` zeros beside it.

    As good as a slice of a padded x, without ever writing a padded x.
    """
    inside = min(count, x.shape[1])
    start = jnp.clip(top, 0, x.shape[1] - inside)
    rows = lax.dynamic_slice(x, (picture, start, 0, 0), (1, inside, *x.shape[2:]))[0]
    rows = jnp.pad(rows, ((count, count), (sides, sides), (0, 0)))
    return lax.dynamic_slice_in_dim(rows, count + top - start, count)


def depthwise(x: jax.Array, kernel: jax.Array, *, stride: int = 1, padding: Padding) -> jax.Array:
    """x [B, H, W, C] with a kernel [k, k, 1, C], `padding` pixels of zeros on each side."""
    if jax.default_backend() == "cpu":
        return depthwise_shifted(x, kernel, stride, padding)
    return depthwise_lax(x, kernel, stride, padding)


def depthwise_lax(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> jax.Array:
    """`depthwise` as a grouped convolution."""
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        padding,
        feature_group_count=x.shape[-1],
        dimension_numbers=_LAYOUT,
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def depthwise_shifted(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> jax.Array:
    """`depthwise` as k x k shifted multiply-adds."""
    size = kernel.shape[0]
    windows, taps = _windows(_padded(x, padding), size, stride), kernel.reshape(size * size, -1)
    return sum(w * k.reshape(1, 1, 1, -1) for w, k in zip(windows, taps, strict=True))


def _shifted_forward(x, kernel, stride, padding):
    return depthwise_shifted(x, kernel, stride, padding), (x, kernel)


def _shifted_backward(stride, padding, saved, dy):
    x, kernel = saved
    dx = _input_gradient(dy, kernel, stride, padding, x.shape)
    return dx, _kernel_gradient(x, dy, kernel.shape[0], stride, padding)


depthwise_shifted.defvjp(_shifted_forward, _shifted_backward)


def _input_gradient(dy, kernel, stride, padding, shape):
    """The same convolution with the kernel turned round, of dy with zeros between its pixels."""
    edges = []
    for side, n, (low, _) in zip(shape[1:3], dy.shape[1:3], padding, strict=True):
        reach = stride * (n - 1) + 1  # of dy, spread out
        edges.append((kernel.shape[0] - 1 - low, low + side - reach))
    if stride > 1:
        gaps = ((0, 0, 0), *[(0, 0, stride - 1)] * 2, (0, 0, 0))
        dy = lax.pad(dy, jnp.zeros((), dy.dtype), gaps)
    return depthwise_shifted(dy, kernel[::-1, ::-1], 1, tuple(edges))


def _kernel_gradient(x, dy, size, stride, padding):
    """A sum over pixels for every tap, a picture at a time so that it stays in the cache.

    The sums are products with ones because XLA would fuse the multiplication into a plain sum and
    then walk through memory channel by channel.
    """

    def picture(total, both):
        x, dy = both  # [H, W, C] each
        dy = dy.astype(total.dtype)
        ones = jnp.ones((1, dy.shape[0] * dy.shape[1]), total.dtype)
        windows = _windows(x[None], size, stride)
        sums = [ones @ (w[0] * dy).reshape(-1, dy.shape[-1]) for w in windows]
        return total + jnp.stack(sums), None

    full = jnp.promote_types(x.dtype, jnp.float32)
    zeros = jnp.zeros((size * size, 1, x.shape[-1]), full)
    total, _ = lax.scan(picture, zeros, (_padded(x, padding), dy))
    return total.reshape(size, size, 1, -1).astype(x.dtype)


def _padded(x: jax.Array, padding: Padding) -> jax.Array:
    """x with zeros around it, or cropped where `padding` is negative."""
    edges = [(low, high, 0) for low, high in ((0, 0), *padding, (0, 0))]
    return lax.pad(x, jnp.zeros((), x.dtype), edges)


def _windows(padded: jax.Array, size: int, stride: int) -> list[jax.Array]:
    """What the taps of a kernel see, row by row: views [B, H', W', C] of a padded x."""
    height, width = (side - size + 1 for side in padded.shape[1:3])
    return [
        padded[:, i : i + height : stride, j : j + width : stride]
        for i in range(size)
        for j in range(size)
    ]
