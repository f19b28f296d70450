"""Maps [B, H, W, C] normalised by channel, as BatchNorm does, with the gradient written out.

Ioffe and Szegedy 2015 (arXiv:1502.03167), section 3. Sums are float32, or float64 where the map is.
"""

import functools

import jax
import jax.numpy as jnp


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def batch(
    x: jax.Array, scale: jax.Array, bias: jax.Array, guess: jax.Array, epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """x normalised by its own mean and biased variance, and these two ([C], float32 at least).

    The two are for the running statistics: no gradient passes through them. That of y is written
    out, which saves about a tenth of a MobileNet step on a CPU. `guess` [C] is of the mean.
    """
    return _batch_forward(x, scale, bias, guess, epsilon)[0]


def _batch_forward(x, scale, bias, guess, epsilon):
    mean, var = _moments(full(x), guess)
    inverse = jax.lax.rsqrt(var + epsilon)
    y = by(x, mean, scale * inverse, bias)
    return (y, mean, var), (x, scale, mean, inverse)


def _batch_backward(epsilon, saved, gradients):
    x, scale, mean, inverse = saved
    dy = full(gradients[0])
    centred = full(x) - as_map(mean)
    dbias, dscale = _sums(dy, dy * centred)
    dscale = dscale * inverse
    n = x.size // x.shape[-1]
    # How much the mean and the variance of the batch move along with every pixel.
    along = as_map(dbias / n) + centred * as_map(dscale * inverse / n)
    dx = as_map(scale * inverse) * (dy - along)
    return dx.astype(x.dtype), dscale, dbias, None  # the guess changes nothing


batch.defvjp(_batch_forward, _batch_backward)


def _moments(x, guess):
    """Mean and biased variance [C]; but on a CPU from one look at x, which is all that they cost.

    The sums are those around `guess` (Chan, Golub and LeVeque 1983, "Algorithms for computing the
    sample variance", on shifted data); rounding grows with ((mean - guess) / deviation)^2.
    """
    if jax.default_backend() == "cpu":  # at once they make a MobileNet's step a twentieth longer
        mean = x.mean((0, 1, 2))
        return mean, jnp.square(x - as_map(mean)).mean((0, 1, 2))
    off, n = x - as_map(guess), x.size // x.shape[-1]
    first, second = (total / n for total in _sums(off, jnp.square(off)))
    return guess + first, jnp.maximum(second - jnp.square(first), 0)


def _sums(*maps):
    """Each summed to [C], in two steps that XLA does not merge.

    In one, it takes up to ten times as long within a step on a CPU, though not by itself.
    """
    pictures = jax.lax.optimization_barrier([x.sum((1, 2)) for x in maps])
    return [x.sum(0) for x in pictures]


def by(x: jax.Array, mean: jax.Array, factor: jax.Array, bias: jax.Array) -> jax.Array:
    """(x - mean) * factor + bias, each of the three [C], in the dtype of x."""
    y = (full(x) - as_map(mean)) * as_map(factor) + as_map(bias)
    return y.astype(x.dtype)


def full(x: jax.Array) -> jax.Array:
    """x with float32 precision at least."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def as_map(channels: jax.Array) -> jax.Array:
    """[C] as [1, 1, 1, C]."""
    return channels.reshape(1, 1, 1, -1)
