"""Convolutions, in the form that is fast on the current device: lax's own, except on the CPU.

There XLA's depthwise convolution is one to two orders of magnitude slower than shifted
multiply-adds, which fuse into one pass over memory. Its 3x3 convolution takes twice as long as
Winograd's algorithm, and the kernel's gradient up to ten times as long; in a network's first layer,
with three channels, the gradient takes up to twice as long as a matrix product with the pixels that
the kernel sees. 1x1 convolutions are matrix products; so is, on all devices, one with a kernel as
large as the map. On a TPU, by its compiler's own estimates,
MobileNet's blocks would take two to four times as long with shifted multiply-adds, and up to a
quarter longer with products. The form is chosen when a function is traced. All forms give the same
numbers up to rounding (`benchmarks/convolve.py` times them).
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from jaxdet import backend
from jaxdet.layers import winograd
from jaxdet.layers.precision import full

_LAYOUT = ("NHWC", "HWIO", "NHWC")

# Below these nothing is gained: transforming the kernel would cost more than it saves, and the
# network would be slower to compile.
_MIN_PIXELS, _MIN_PRODUCTS = 2**9, 2**24

Padding = tuple[tuple[int, int], tuple[int, int]]  # above and below, left and right


def conv(
    x: jax.Array, kernel: jax.Array, *, stride: int = 1, padding: int = 0, dilation: int = 1
) -> jax.Array:
    """Convolves x [B, H, W, I], zero-padded by `padding` on every side, with [k, k, I, O]."""
    size = kernel.shape[:2]
    if size == x.shape[1:3] and size != (1, 1) and padding == 0 and dilation == 1:
        # A fully connected layer: all of x is one product of matrices.
        return (x.reshape(x.shape[0], -1) @ kernel.reshape(-1, kernel.shape[3]))[:, None, None]
    if backend.target() != "cpu":
        return conv_lax(x, kernel, stride, padding, dilation)
    if size == (1, 1) and stride == 1 and padding == 0:
        # As a product of matrices: with four axes XLA transposes x for the kernel's gradient.
        return (x.reshape(-1, x.shape[3]) @ kernel[0, 0]).reshape(*x.shape[:3], -1)
    pixels = x.size // x.shape[3]
    worth = pixels >= _MIN_PIXELS and x.size * kernel.shape[3] >= _MIN_PRODUCTS
    # In bfloat16 transforming rows would lose more digits than there are, and sums be imprecise.
    if size == (3, 3) and worth and x.dtype.itemsize >= 4:
        if x.shape[3] <= 4:
            return conv_of_few(x, kernel, stride, padding, dilation)
        if stride == 1:
            return winograd.conv(x, kernel, padding, dilation)
    return conv_lax(x, kernel, stride, padding, dilation)


def conv_lax(
    x: jax.Array, kernel: jax.Array, stride: int, padding: int, dilation: int
) -> jax.Array:
    """`conv` as XLA computes it."""
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(padding, padding)] * 2,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=_LAYOUT,
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def conv_of_few(
    x: jax.Array, kernel: jax.Array, stride: int, padding: int, dilation: int
) -> jax.Array:
    """`conv` of few channels: if it is differentiated, a product with patches [B H' W', k k I]."""
    return conv_lax(x, kernel, stride, padding, dilation)


def _of_few_forward(x, kernel, stride, padding, dilation):
    padded = _padded(x, ((padding, padding),) * 2)
    seen = jnp.concatenate(_windows(padded, kernel.shape[0], stride, dilation), axis=-1)
    y = seen.reshape(-1, seen.shape[-1]) @ kernel.reshape(seen.shape[-1], -1)
    return y.reshape(*seen.shape[:3], -1), (x, seen, kernel)


def _of_few_backward(stride, padding, dilation, saved, dy):
    x, seen, kernel = saved
    forward = lambda x: conv_lax(x, kernel, stride, padding, dilation)
    (dx,) = jax.linear_transpose(forward, x)(dy)
    dkernel = seen.reshape(-1, seen.shape[-1]).T @ dy.reshape(-1, dy.shape[-1])
    return dx, dkernel.reshape(kernel.shape)


conv_of_few.defvjp(_of_few_forward, _of_few_backward)


def depthwise(x: jax.Array, kernel: jax.Array, *, stride: int = 1, padding: Padding) -> jax.Array:
    """Convolves each channel of x [B, H, W, C], zero-padded by `padding`, with [k, k, 1, C]."""
    if backend.target() == "cpu":
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
    padded, kernel = full(_padded(x, padding)), full(kernel)  # or every tap rounds
    windows, taps = _windows(padded, size, stride), kernel.reshape(size * size, -1)
    y = sum(w * k.reshape(1, 1, 1, -1) for w, k in zip(windows, taps, strict=True))
    return y.astype(x.dtype)


def _shifted_forward(x, kernel, stride, padding):
    return depthwise_shifted(x, kernel, stride, padding), (x, kernel)


def _shifted_backward(stride, padding, saved, dy):
    x, kernel = saved
    dx = _input_gradient(dy, kernel, stride, padding, x.shape)
    return dx, _kernel_gradient(x, dy, kernel.shape[0], stride, padding)


depthwise_shifted.defvjp(_shifted_forward, _shifted_backward)


def _input_gradient(dy, kernel, stride, padding, shape):
    """The same convolution with the kernel flipped, of dy with zeros between its pixels."""
    edges = []
    for side, n, (low, _) in zip(shape[1:3], dy.shape[1:3], padding, strict=True):
        reach = stride * (n - 1) + 1  # of dy with the zeros
        edges.append((kernel.shape[0] - 1 - low, low + side - reach))
    if stride > 1:
        gaps = ((0, 0, 0), *[(0, 0, stride - 1)] * 2, (0, 0, 0))
        dy = lax.pad(dy, jnp.zeros((), dy.dtype), gaps)
    return depthwise_shifted(dy, kernel[::-1, ::-1], 1, tuple(edges))


def _kernel_gradient(x, dy, size, stride, padding):
    """A sum over pixels for every tap, one image at a time so that it stays in the cache.

    The sums are products with ones, because XLA would fuse the multiplication into a plain sum and
    then read memory channel by channel.
    """

    def add_image(total, both):
        x, dy = both  # [H, W, C] each
        dy = dy.astype(total.dtype)
        ones = jnp.ones((1, dy.shape[0] * dy.shape[1]), total.dtype)
        windows = _windows(x[None], size, stride)
        sums = [ones @ (w[0] * dy).reshape(-1, dy.shape[-1]) for w in windows]
        return total + jnp.stack(sums), None

    precise = jnp.promote_types(x.dtype, jnp.float32)
    zeros = jnp.zeros((size * size, 1, x.shape[-1]), precise)
    total, _ = lax.scan(add_image, zeros, (_padded(x, padding), dy))
    return total.reshape(size, size, 1, -1).astype(x.dtype)


def _padded(x: jax.Array, padding: Padding) -> jax.Array:
    """x with zeros around it, or cropped where `padding` is negative."""
    edges = [(low, high, 0) for low, high in ((0, 0), *padding, (0, 0))]
    return lax.pad(x, jnp.zeros((), x.dtype), edges)


def _windows(padded: jax.Array, size: int, stride: int, dilation: int = 1) -> list[jax.Array]:
    """What each tap of a kernel sees, row by row: views [B, H', W', C] of a padded x."""
    taps = range(0, size * dilation, dilation)
    height, width = (side - taps[-1] for side in padded.shape[1:3])
    return [padded[:, i : i + height : stride, j : j + width : stride] for i in taps for j in taps]
