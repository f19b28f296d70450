"""The layers that networks are built from; pictures are [B, H, W, C].

Parameters are float32; a layer computes in the dtype of its input. Padding is PyTorch's, the same
number of pixels on every side, because pretrained weights expect it: SAME pads (0, 1) at stride 2
where PyTorch pads (1, 1), and would shift every feature.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdet import convolve

Initializer = Callable[..., jax.Array]

xavier_uniform = nn.initializers.xavier_uniform()
he_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
he_fan_in = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


class Conv(nn.Module):
    """A convolution with a square kernel.

    `padding` defaults to what keeps the size at stride 1: (size - 1) // 2 x dilation.
    """

    features: int
    size: int = 3
    stride: int = 1
    padding: int | None = None
    dilation: int = 1
    use_bias: bool = True
    kernel_init: Initializer = xavier_uniform

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        padding = (self.size - 1) // 2 * self.dilation if self.padding is None else self.padding
        x = convolve.conv(
            x, kernel.astype(x.dtype), stride=self.stride, padding=padding, dilation=self.dilation
        )
        return _add_bias(self, x) if self.use_bias else x


class DepthwiseConv(nn.Module):
    """A 3x3 convolution of every channel with a kernel of its own, padded by one pixel."""

    stride: int = 1
    use_bias: bool = False
    kernel_init: Initializer = xavier_uniform

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", self.kernel_init, (3, 3, 1, x.shape[-1]))
        x = convolve.depthwise(x, kernel.astype(x.dtype), stride=self.stride)
        return _add_bias(self, x) if self.use_bias else x


def _add_bias(module: nn.Module, x: jax.Array) -> jax.Array:
    bias = module.param("bias", nn.initializers.zeros, (x.shape[-1],))
    return x + bias.astype(x.dtype).reshape(1, 1, 1, -1)


class BatchNorm(nn.Module):
    """Batch normalisation as PyTorch has it (Ioffe and Szegedy 2015, arXiv:1502.03167).

    It differs from `nn.BatchNorm` in that the running variance takes the unbiased variance of the
    batch. The batch is the global one: under `jit` over a mesh the sums cross the devices by
    themselves, so no axis is named. Statistics are float32 whatever the dtype of the input.
    """

    momentum: float = 0.9  # share of the old statistics; PyTorch's momentum is 1 - this
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        shape = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape)
        if train:
            y, mean, var = normalise_batch(x, scale, bias, self.epsilon)
            if not self.is_initializing():
                n = x.size // x.shape[-1]
                self._update(running_mean, mean)
                self._update(running_var, var * (n / max(n - 1, 1)))
            return y
        factor = scale * jax.lax.rsqrt(running_var.value + self.epsilon)
        return _normalise(x, running_mean.value, factor, bias)

    def _update(self, running: nn.Variable, new: jax.Array) -> None:
        running.value = self.momentum * running.value + (1 - self.momentum) * new


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalise_batch(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """x normalised by its own mean and biased variance, and these two (float32 [C]).

    The two are for the running statistics: no gradient passes through them. That of y is written
    out (section 3 of the paper), which saves about a tenth of a MobileNet step on a CPU.
    """
    return _normalise_batch_forward(x, scale, bias, epsilon)[0]


def _normalise_batch_forward(x, scale, bias, epsilon):
    full = x.astype(jnp.float32)
    mean = full.mean((0, 1, 2))
    var = jnp.square(full - _as_map(mean)).mean((0, 1, 2))
    inverse = jax.lax.rsqrt(var + epsilon)
    y = _normalise(x, mean, scale * inverse, bias)
    return (y, mean, var), (x, scale, mean, inverse)


def _normalise_batch_backward(epsilon, saved, gradients):
    x, scale, mean, inverse = saved
    dy = gradients[0].astype(jnp.float32)
    centred = x.astype(jnp.float32) - _as_map(mean)
    dbias = dy.sum((0, 1, 2))
    dscale = (dy * centred).sum((0, 1, 2)) * inverse
    n = x.size // x.shape[-1]
    # How much the mean and the variance of the batch move along with every pixel.
    along = _as_map(dbias / n) + centred * _as_map(dscale * inverse / n)
    dx = _as_map(scale * inverse) * (dy - along)
    return dx.astype(x.dtype), dscale, dbias


normalise_batch.defvjp(_normalise_batch_forward, _normalise_batch_backward)


def _normalise(x, mean, factor, bias):
    y = (x.astype(jnp.float32) - _as_map(mean)) * _as_map(factor) + _as_map(bias)
    return y.astype(x.dtype)


def _as_map(channels: jax.Array) -> jax.Array:
    return channels.reshape(1, 1, 1, -1)


class ConvNorm(nn.Module):
    """Convolution without bias, then BatchNorm; the activation is the caller's."""

    features: int
    size: int = 1
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = Conv(
            self.features,
            self.size,
            self.stride,
            use_bias=False,
            kernel_init=he_fan_out,
            name="conv",
        )(x)
        return BatchNorm(name="norm")(x, train=train)


class DepthwiseNorm(nn.Module):
    """3x3 depthwise convolution without bias, then BatchNorm."""

    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = DepthwiseConv(self.stride, kernel_init=he_fan_out, name="conv")(x)
        return BatchNorm(name="norm")(x, train=train)


class L2Norm(nn.Module):
    """Every pixel's feature vector at unit length, times a learnt scale per channel.

    ParseNet (Liu et al. 2015, arXiv:1506.04579, section 3.3); SSD begins with a scale of 20.
    """

    initial_scale: float = 20.0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.constant(self.initial_scale), (x.shape[-1],))
        squares = jnp.square(x.astype(jnp.float32)).sum(-1, keepdims=True)
        # A root would have no gradient at a pixel whose features are all zero.
        y = x * jax.lax.rsqrt(jnp.maximum(squares, 1e-20)) * _as_map(scale)
        return y.astype(x.dtype)


def relu6(x: jax.Array) -> jax.Array:
    """x between 0 and 6; the gradient at both ends is zero, as in PyTorch."""
    return jax.lax.clamp(jnp.zeros((), x.dtype), x, jnp.full((), 6, x.dtype))


def max_pool(
    x: jax.Array, size: int, *, stride: int, padding: int = 0, round_up: bool = False
) -> jax.Array:
    """The maximum of every size x size window, `padding` pixels of nothing on every side.

    A window that does not fit whole is left out, or kept if `round_up` (PyTorch's ceil_mode).
    As maxima of shifted maps, which is several times faster than `nn.max_pool` where a gradient is
    taken on a CPU; equal maxima share their gradient.
    """
    for axis in (1, 2):
        over = (x.shape[axis] + 2 * padding - size) % stride
        more = stride - over if round_up and over else 0
        edges = [(0, 0)] * 4
        edges[axis] = (padding, padding + more)
        x = jnp.pad(x, edges, constant_values=-jnp.inf)
        end = x.shape[axis] - size + 1
        shifted = [jax.lax.slice_in_dim(x, i, end + i, stride, axis) for i in range(size)]
        x = functools.reduce(jnp.maximum, shifted)
    return x
