"""Convolutions of 3x3 at stride 1 with half the multiplications, for the CPU.

Winograd's minimal filtering F(4, 3) (Lavin and Gray 2015, arXiv:1509.09308, section 4.3): four
neighbouring outputs of three taps need six products instead of twelve, of mixtures of six inputs
with mixtures of the taps. It is done down the rows. Along a row the convolution stays as it is:
mixing columns too would save more products and lose more digits, and mixtures of whole rows are
fast. In float32 the result differs from a plain convolution's by 3e-6 to 1e-5 of the largest
output.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax

# Each row mixes six inputs, three taps, and six products into four outputs (the paper's B^T, G
# and A^T). Their gradients are mixed by the same numbers, read down the columns.
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

_AT_ONCE = 2**21  # numbers of a group of pictures, whose mixtures then stay in the cache


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv(x: jax.Array, kernel: jax.Array, padding: int, dilation: int) -> jax.Array:
    """x [B, H, W, I] with a kernel [3, 3, I, O], `padding` pixels of zeros on every side."""
    return _conv(x, kernel, padding, dilation)


def _forward(x, kernel, padding, dilation):
    return conv(x, kernel, padding, dilation), (x, kernel)


def _backward(padding, dilation, saved, dy):
    x, kernel = saved
    turned = kernel[::-1, ::-1].swapaxes(2, 3)
    dx = _conv(dy, turned, 2 * dilation - padding, dilation)
    return dx, _kernel_gradient(x, dy, padding, dilation)


conv.defvjp(_forward, _backward)


def _conv(x, kernel, padding, dilation):
    height = x.shape[1] + 2 * (padding - dilation)
    # A product, for XLA would fuse a sum with the transposing of the kernel and be slow at it.
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
        fours = [_mix(row, products) for row in _OUTPUTS]
        fours = [y.reshape(len(y), -1, dilation, *y.shape[2:]) for y in fours]
        y = jnp.stack(fours, 2)  # [B, tiles, 4, dilation, W, O]
        return y.reshape(len(y), -1, *y.shape[4:])[:, :height]

    y = lax.map(group, _groups(x, x.shape))
    return y.reshape(-1, *y.shape[2:])


def _kernel_gradient(x, dy, padding, dilation):
    height = dy.shape[1]

    def add(total, both):
        x, dy = both
        fours = _views(dy, 4, _tiles(height, dilation), 0, dilation)
        outputs = [_mix(column, fours) for column in zip(*_OUTPUTS, strict=True)]
        inputs = _inputs(x, height, padding, dilation)
        sums = [_taps(*pair, dilation) for pair in zip(inputs, outputs, strict=True)]
        return total + jnp.stack(sums), None

    larger = max(x.shape, dy.shape, key=math.prod)
    zeros = jnp.zeros((6, 3, x.shape[3], dy.shape[3]), x.dtype)
    total, _ = lax.scan(add, zeros, (_groups(x, larger), _groups(dy, larger)))
    return jnp.einsum("ti,twcf->iwcf", jnp.array(_TAPS, x.dtype), total)


def _taps(inputs, outputs, dilation):
    """What each tap of a row saw times the outputs, summed over all pixels: [3, I, O]."""
    width = outputs.shape[2]
    seen = [inputs[:, :, i * dilation :][:, :, :width] for i in range(3)]
    seen = jnp.concatenate(seen, -1).reshape(-1, 3 * inputs.shape[3])
    return (seen.T @ outputs.reshape(len(seen), -1)).reshape(3, inputs.shape[3], -1)


def _inputs(x, height, padding, dilation):
    """Six mixtures of the rows of x, padded: [B, about a fourth of `height`, padded W, I] each."""
    sixes = _views(x, 6, _tiles(height, dilation), padding, dilation)
    return [_mix(row, sixes) for row in _INPUTS]


def _tiles(height, dilation):
    """How many tiles cover `height` rows: a tile is four rows, dilated, for each row of a step."""
    return -(-height // (4 * dilation))


def _views(x, count, tiles, padding, dilation):
    """The first to last of `count` rows of every tile: [B, tiles x dilation, padded W, C] each.

    Tiles begin four rows apart, times the dilation.
    """
    rows = 4 * (tiles - 1) + count
    below = rows * dilation - padding - x.shape[1]  # negative where the last tiles need less
    edges = ((0, 0, 0), (padding, below, 0), (padding, padding, 0), (0, 0, 0))
    x = lax.pad(x, jnp.zeros((), x.dtype), edges)
    x = x.reshape(len(x), rows, dilation, *x.shape[2:])
    views = [x[:, i : i + 4 * tiles - 3 : 4] for i in range(count)]
    return [view.reshape(len(x), -1, *x.shape[3:]) for view in views]


def _mix(weights, terms):
    """The sum of weights times terms, without those of zero."""
    return sum(w * term for w, term in zip(weights, terms, strict=True) if w)


def _groups(x, shape):
    """x in equal groups of pictures, of at most `_AT_ONCE` numbers at `shape` or of one picture."""
    fits = max(1, _AT_ONCE // math.prod(shape[1:]))
    count = max(n for n in range(1, len(x) + 1) if len(x) % n == 0 and n <= fits)
    return x.reshape(-1, count, *x.shape[1:])
