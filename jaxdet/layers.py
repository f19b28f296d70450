"""The layers that networks are built from; pictures are [B, H, W, C].

Parameters are float32; a layer computes in the dtype of its input. Padding is PyTorch's, the same
number of pixels on every side, because pretrained weights expect it: SAME pads (0, 1) at stride 2
where PyTorch pads (1, 1), and would shift every feature. A network whose weights come from
TensorFlow says padding="SAME".
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdet import convolve, normalise

Initializer = Callable[..., jax.Array]

xavier_uniform = nn.initializers.xavier_uniform()
he_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
he_fan_in = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


def relu6(x: jax.Array) -> jax.Array:
    """x between 0 and 6; the gradient at both ends is zero, as in PyTorch."""
    return jax.lax.clamp(jnp.zeros((), x.dtype), x, jnp.full((), 6, x.dtype))


# Darknet's, and so that of all YOLOs (Redmon et al. 2015, arXiv:1506.02640, equation 2).
leaky_relu = functools.partial(nn.leaky_relu, negative_slope=0.1)


def hard_sigmoid(x: jax.Array) -> jax.Array:
    """Straight from 0 at -3 to 1 at 3 (Howard et al. 2019, arXiv:1905.02244, section 5.2)."""
    return relu6(x + 3) / 6


def hard_swish(x: jax.Array) -> jax.Array:
    """x times its hard sigmoid."""
    return x * hard_sigmoid(x)


class Conv(nn.Module):
    """A convolution with a square kernel.

    `padding` is a number of pixels on every side, "SAME" (TensorFlow's), or by default what keeps
    the size at stride 1: (size - 1) // 2 x dilation.
    """

    features: int
    size: int = 3
    stride: int = 1
    padding: int | str | None = None
    dilation: int = 1
    use_bias: bool = True
    kernel_init: Initializer = xavier_uniform

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        padding = (self.size - 1) // 2 * self.dilation if self.padding is None else self.padding
        if padding == "SAME":
            reach = self.dilation * (self.size - 1) + 1
            x, padding = jnp.pad(x, ((0, 0), *_same(x, reach, self.stride), (0, 0))), 0
        x = convolve.conv(
            x, kernel.astype(x.dtype), stride=self.stride, padding=padding, dilation=self.dilation
        )
        return _add_bias(self, x) if self.use_bias else x


class DepthwiseConv(nn.Module):
    """A convolution of every channel with a square kernel of its own; `padding` as in `Conv`."""

    stride: int = 1
    size: int = 3
    padding: int | str | None = None
    use_bias: bool = False
    kernel_init: Initializer = xavier_uniform

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", self.kernel_init, (self.size, self.size, 1, x.shape[-1]))
        if self.padding == "SAME":
            padding = _same(x, self.size, self.stride)
        else:
            each = (self.size - 1) // 2 if self.padding is None else self.padding
            padding = ((each, each),) * 2
        x = convolve.depthwise(x, kernel.astype(x.dtype), stride=self.stride, padding=padding)
        return _add_bias(self, x) if self.use_bias else x


def _same(x: jax.Array, reach: int, stride: int) -> convolve.Padding:
    """TensorFlow's SAME: H / stride rows and W / stride columns, rounded up, come out.

    `reach` is the side that a kernel covers; an odd pixel goes below and to the right.
    """
    out = [-(-side // stride) for side in x.shape[1:3]]
    more = [
        max((n - 1) * stride + reach - side, 0) for n, side in zip(out, x.shape[1:3], strict=True)
    ]
    return tuple((m // 2, m - m // 2) for m in more)


def _add_bias(module: nn.Module, x: jax.Array) -> jax.Array:
    return plus(x, module.param("bias", nn.initializers.zeros, (x.shape[-1],)))


@jax.custom_vjp
def plus(x: jax.Array, bias: jax.Array) -> jax.Array:
    """x [B, H, W, C] with `bias` [C] at every pixel, in the dtype of x.

    In that dtype cuDNN adds it, and takes the ReLU, within the convolution. Its gradient is summed
    in float32: in bfloat16 a sum over pixels soon stops growing.
    """
    return x + normalise.as_map(bias).astype(x.dtype)


def _plus_forward(x, bias):
    return plus(x, bias), None


def _plus_backward(_, dy):
    return dy, normalise.full(dy).sum((0, 1, 2))


plus.defvjp(_plus_forward, _plus_backward)


class BatchNorm(nn.Module):
    """Batch normalisation as PyTorch has it (Ioffe and Szegedy 2015, arXiv:1502.03167).

    It differs from `nn.BatchNorm` in that the running variance takes the unbiased variance of the
    batch. The batch is the global one: under `jit` over a mesh the sums cross the devices by
    themselves, so no axis is named. Statistics are float32, or float64 where the input is.
    With `groups` that many equal parts of the batch are normalised each by itself, and the running
    statistics follow the mean of theirs: what not to synchronise over as many devices means.
    """

    momentum: float = 0.9  # share of the old statistics; PyTorch's momentum is 1 - this
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, groups: int = 1) -> jax.Array:
        shape = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape)
        if train:
            y, mean, var = self._normalise_parts(x, scale, bias, running_mean.value, groups)
            if not self.is_initializing():
                n = x.size // x.shape[-1] // groups
                self._update(running_mean, mean)
                self._update(running_var, var * (n / max(n - 1, 1)))
            return y
        factor = scale * jax.lax.rsqrt(running_var.value + self.epsilon)
        return normalise.by(x, running_mean.value, factor, bias)

    def _normalise_parts(self, x, scale, bias, guess, groups):
        if groups == 1:  # without the axis of the parts, which costs a tenth of a step on a CPU
            return normalise.batch(x, scale, bias, guess, self.epsilon)
        parts = x.reshape(groups, -1, *x.shape[1:])
        each = jax.vmap(lambda part: normalise.batch(part, scale, bias, guess, self.epsilon))
        y, mean, var = each(parts)
        return y.reshape(x.shape), mean.mean(0), var.mean(0)

    def _update(self, running: nn.Variable, new: jax.Array) -> None:
        running.value = self.momentum * running.value + (1 - self.momentum) * new


def norm_in_groups(groups: int):
    """A context in which every BatchNorm normalises `groups` parts of the batch by themselves."""

    def intercept(call, args, kwargs, context):
        if isinstance(context.module, BatchNorm) and context.method_name == "__call__":
            kwargs = {**kwargs, "groups": groups}
        return call(*args, **kwargs)

    return nn.intercept_methods(intercept)


# TensorFlow's object detection API began it; the SSDLites of mmdetection and torchvision follow.
slow_norm = functools.partial(BatchNorm, momentum=0.97, epsilon=1e-3)


class ConvNorm(nn.Module):
    """Convolution without bias, then BatchNorm; the activation is the caller's.

    `norm` makes the BatchNorm: `functools.partial(BatchNorm, epsilon=...)` for another one.
    """

    features: int
    size: int = 1
    stride: int = 1
    padding: int | str | None = None
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = Conv(
            self.features,
            self.size,
            self.stride,
            self.padding,
            use_bias=False,
            kernel_init=he_fan_out,
            name="conv",
        )(x)
        return self.norm(name="norm")(x, train=train)


class DepthwiseNorm(nn.Module):
    """Depthwise convolution without bias, then BatchNorm; `norm` as in `ConvNorm`."""

    stride: int = 1
    size: int = 3
    padding: int | str | None = None
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = DepthwiseConv(
            self.stride, self.size, self.padding, kernel_init=he_fan_out, name="conv"
        )(x)
        return self.norm(name="norm")(x, train=train)


class SqueezeExcite(nn.Module):
    """Every channel scaled by what the means of all say (Hu et al. 2017, arXiv:1709.01507).

    `hidden` is the width of the layer between; `gate` makes the scale.
    """

    hidden: int
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    gate: Callable[[jax.Array], jax.Array] = hard_sigmoid

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv = functools.partial(Conv, size=1, kernel_init=he_fan_out)
        means = x.mean((1, 2), keepdims=True)  # [B, 1, 1, C]
        hidden = self.activation(conv(self.hidden, name="reduce")(means))
        scale = normalise.full(self.gate(conv(x.shape[-1], name="expand")(hidden)))
        return (normalise.full(x) * scale).astype(x.dtype)  # for the gradient, as in `plus`


class L2Norm(nn.Module):
    """Every pixel's feature vector at unit length, times a learnt scale per channel.

    ParseNet (Liu et al. 2015, arXiv:1506.04579, section 3.3); SSD begins with a scale of 20.
    """

    initial_scale: float = 20.0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.constant(self.initial_scale), (x.shape[-1],))
        squares = jnp.square(normalise.full(x)).sum(-1, keepdims=True)
        # A root would have no gradient at a pixel whose features are all zero.
        y = x * jax.lax.rsqrt(jnp.maximum(squares, 1e-20)) * normalise.as_map(scale)
        return y.astype(x.dtype)


def round_channels(channels: float) -> int:
    """The nearest multiple of 8, unless it is more than a tenth below (code of arXiv:1801.04381).

    MobileNets and EfficientNets round all channel counts so when they are multiplied.
    """
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8
