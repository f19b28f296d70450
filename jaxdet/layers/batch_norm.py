"""The mathematics of batch normalisation (Ioffe and Szegedy 2015, arXiv:1502.03167).

Maps are [B, H, W, C]; the gradient is written by hand. Sums are float32, or float64 if the map is.
"""

import functools

import jax
import jax.numpy as jnp

from jaxdet import backend
from jaxdet.layers.precision import as_map, full


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def normalise(
    x: jax.Array, scale: jax.Array, bias: jax.Array, near_mean: jax.Array, epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """x normalised by its own mean and biased variance, and these two ([C], at least float32).

    The two are for the running statistics: no gradient flows through them. The gradient of y is
    written by hand, which saves about a tenth of a MobileNet step on a CPU. `near_mean` [C] is any
    estimate of the mean, such as the running one.
    """
    return _forward(x, scale, bias, near_mean, epsilon)[0]


def _forward(x, scale, bias, near_mean, epsilon):
    mean, var = moments(full(x), near_mean)
    inverse = jax.lax.rsqrt(var + epsilon)
    y = affine(x, mean, scale * inverse, bias)
    return (y, mean, var), (x, scale, mean, inverse)


def _backward(epsilon, saved, gradients):
    x, scale, mean, inverse = saved
    dy = full(gradients[0])
    centred = full(x) - as_map(mean)
    dbias, dscale = _sums(dy, dy * centred)
    dscale = dscale * inverse
    n = x.size // x.shape[-1]
    # The gradient that flows through the mean and the variance of the batch.
    along = as_map(dbias / n) + centred * as_map(dscale * inverse / n)
    dx = as_map(scale * inverse) * (dy - along)
    return dx.astype(x.dtype), dscale, dbias, None  # the result does not depend on `near_mean`


normalise.defvjp(_forward, _backward)


def moments(x: jax.Array, near_mean: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and biased variance [C] of x.

    Off the CPU both come from one pass over x: sums around `near_mean` [C] (Chan, Golub and LeVeque
    1983, "Algorithms for computing the sample variance", on shifted data), since the
    cost there is reading x. Rounding grows with ((mean - near_mean) / deviation)^2.
    """
    if backend.target() == "cpu":  # one pass makes a MobileNet's step a twentieth slower
        mean = x.mean((0, 1, 2))
        return mean, jnp.square(x - as_map(mean)).mean((0, 1, 2))
    off, n = x - as_map(near_mean), x.size // x.shape[-1]
    first, second = (total / n for total in _sums(off, jnp.square(off)))
    return near_mean + first, jnp.maximum(second - jnp.square(first), 0)


def _sums(*maps):
    """Sums each map to [C], in two steps that XLA does not merge.

    Merged, they take up to ten times as long within a training step on a CPU, though not alone.
    """
    of_images = jax.lax.optimization_barrier([x.sum((1, 2)) for x in maps])
    return [x.sum(0) for x in of_images]


def affine(x: jax.Array, mean: jax.Array, factor: jax.Array, bias: jax.Array) -> jax.Array:
    """(x - mean) * factor + bias, each of the three [C], in the dtype of x."""
    y = (full(x) - as_map(mean)) * as_map(factor) + as_map(bias)
    return y.astype(x.dtype)
