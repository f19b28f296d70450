"""3x3 convolutions at stride 1 with half the multiplications, for the CPU.

Winograd's minimal filtering F(4, 3) (Lavin and Gray 2015, arXiv:1509.09308, section 4.3): four
neighbouring outputs of three taps need six products instead of twelve, of linear combinations of
six inputs with combinations of the taps. It is applied down the columns, and along a row the
convolution is an ordinary one: combining columns too would save more products but lose more digits,
and whole rows are fast to combine. In float32 the result differs from a plain convolution's by 3e-6
to 1e-5 of the largest output.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax

# Each row has the coefficients that combine six inputs, three taps, or six products into one of
# four outputs (the paper's B^T, G and A^T). Gradients use the same numbers, read by column.
_INPUTS = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_TAPS = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
_OUTPUTS = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))

_AT_ONCE = 2**21  # numbers in a group of images, whose transforms then stay in the cache

# A network repeats its layers: each shape is traced once.
_once = functools.partial(jax.jit, static_argnames=("padding", "dilation"), inline=True)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv(x: jax.Array, kernel: jax.Array, padding: int, dilation: int) -> jax.Array:
    """Convolves x [B, H, W, I], zero-padded by `padding` on every side, with [3, 3, I, O]."""
    return _conv(x, kernel, padding, dilation)


def _forward(x, kernel, padding, dilation):
    return conv(x, kernel, padding, dilation), (x, kernel)


def _backward(padding, dilation, saved, dy):
    x, kernel = saved
    turned = kernel[::-1, ::-1].swapaxes(2, 3)
    dx = _conv(dy, turned, 2 * dilation - padding, dilation)
    return dx, _kernel_gradient(x, dy, padding, dilation)


conv.defvjp(_forward, _backward)


@_once
def _conv(x, kernel, padding, dilation):
    height = x.shape[1] + 2 * (padding - dilation)
    # As a product: XLA would fuse a sum with the kernel's transposition, which is slow.
    kernels = jnp.einsum("ti,iwcf->twcf", jnp.array(_TAPS, x.dtype), kernel)

    def group(x):
        products = [
            lax.conv_general_dilated(
                rows,
                kernel[None],
                (1, 1),
                "VALID",
                rhs_dilation=(1, dilation),
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
            for rows, kernel in zip(_inputs(x, height, padding, dilation), kernels, strict=True)
        ]
        fours = [_combine(row, products) for row in _OUTPUTS]
        fours = [y.reshape(len(y), -1, dilation, *y.shape[2:]) for y in fours]
        y = jnp.stack(fours, 2)  # [B, tiles, 4, dilation, W, O]
        return y.reshape(len(y), -1, *y.shape[4:])[:, :height]

    y = lax.map(group, _groups(x, x.shape))
    return y.reshape(-1, *y.shape[2:])


@_once
def _kernel_gradient(x, dy, padding, dilation):
    height = dy.shape[1]

    def add(total, both):
        x, dy = both
        fours = _views(dy, 4, _tiles(height, dilation), 0, dilation)
        outputs = [_combine(column, fours) for column in zip(*_OUTPUTS, strict=True)]
        inputs = _inputs(x, height, padding, dilation)
        sums = [_taps(*pair, dilation) for pair in zip(inputs, outputs, strict=True)]
        return total + jnp.stack(sums), None

    larger = max(x.shape, dy.shape, key=math.prod)
    zeros = jnp.zeros((6, 3, x.shape[3], dy.shape[3]), x.dtype)
    total, _ = lax.scan(add, zeros, (_groups(x, larger), _groups(dy, larger)))
    return jnp.einsum("ti,twcf->iwcf", jnp.array(_TAPS, x.dtype), total)


def _taps(inputs, outputs, dilation):
    """The inputs that each tap of a row sees times the outputs, summed over pixels: [3, I, O]."""
    width = outputs.shape[2]
    seen = [inputs[:, :, i * dilation :][:, :, :width] for i in range(3)]
    seen = jnp.concatenate(seen, -1).reshape(-1, 3 * inputs.shape[3])
    return (seen.T @ outputs.reshape(len(seen), -1)).reshape(3, inputs.shape[3], -1)


def _inputs(x, height, padding, dilation):
    """Six combinations of rows of x, padded: [B, about a fourth of `height`, padded W, I] each."""
    sixes = _views(x, 6, _tiles(height, dilation), padding, dilation)
    return [_combine(row, sixes) for row in _INPUTS]


def _tiles(height, dilation):
    """How many tiles cover `height` rows: a tile covers 4 x `dilation` rows."""
    return -(-height // (4 * dilation))


def _views(x, count, tiles, padding, dilation):
    """Each of the `count` rows of every tile: [B, tiles x dilation, padded W, C] per row.

    Tiles start 4 x `dilation` rows apart.
    """
    rows = 4 * (tiles - 1) + count
    below = rows * dilation - padding - x.shape[1]  # negative if the last tiles need less
    edges = ((0, 0, 0), (padding, below, 0), (padding, padding, 0), (0, 0, 0))
    x = lax.pad(x, jnp.zeros((), x.dtype), edges)
    x = x.reshape(x.shape[0], rows, dilation, *x.shape[2:])
    views = [x[:, i : i + 4 * tiles - 3 : 4] for i in range(count)]
    return [view.reshape(x.shape[0], -1, *x.shape[3:]) for view in views]


def _combine(weights, terms):
    """The sum of weights times terms, skipping zero weights."""
    return sum(w * term for w, term in zip(weights, terms, strict=True) if w)


def _groups(x, shape):
    """x in equal groups of images, of at most `_AT_ONCE` numbers at `shape` or of one image."""
    fits = max(1, _AT_ONCE // math.prod(shape[1:]))
    count = max(n for n in range(1, len(x) + 1) if len(x) % n == 0 and n <= fits)
    return x.reshape(-1, count, *x.shape[1:])
