"""The layers and blocks that networks are built from; maps are [B, H, W, C].

Parameters are float32; a layer computes in the dtype of its input. Padding is PyTorch's, the same
number of pixels on every side, because pretrained weights expect it: SAME pads (0, 1) at stride 2
where PyTorch pads (1, 1), and would shift every feature. A network whose weights come from
TensorFlow says padding="SAME".
"""

from collections.abc import Callable, Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdet.layers import convolve
from jaxdet.layers.activations import identity
from jaxdet.layers.norms import batch_norm
from jaxdet.layers.precision import as_map, full

Activation = Callable[[jax.Array], jax.Array]
Attention = Callable[..., nn.Module]  # called with a name, makes a module of maps
Norm = Callable[..., nn.Module]  # called with a name, makes a module of (maps, train=...)
Initializer = Callable[..., jax.Array]

xavier_uniform = nn.initializers.xavier_uniform()
he_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
he_fan_in = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


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

    size: int = 3
    stride: int = 1
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

    In that dtype cuDNN adds it, and applies the ReLU, within the convolution. Its gradient is
    summed in float32: in bfloat16 a sum over pixels soon stops growing.
    """
    return x + as_map(bias).astype(x.dtype)


def _plus_forward(x, bias):
    return plus(x, bias), None


def _plus_backward(_, dy):
    return dy, full(dy).sum((0, 1, 2))


plus.defvjp(_plus_forward, _plus_backward)


class ConvBlock(nn.Module):
    """A convolution, a normalisation, an activation and attention: what networks are made of.

    `norm` is called with a name and makes the normalisation; without one (None) the convolution has
    a bias instead. `activation` is applied after it, and then `attention`, which is called with a
    name and makes a module. The children are called `conv`, `norm` and `attention`.
    """

    features: int
    size: int = 1
    stride: int = 1
    padding: int | str | None = None
    norm: Norm | None = batch_norm
    activation: Activation = identity
    attention: Attention | None = None
    kernel_init: Initializer = he_fan_out

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        conv = Conv(
            self.features,
            self.size,
            self.stride,
            self.padding,
            use_bias=self.norm is None,
            kernel_init=self.kernel_init,
            name="conv",
        )
        return _finish(self, conv(x), train=train)


class DepthwiseBlock(nn.Module):
    """As `ConvBlock`, with a depthwise convolution: as many channels come out as go in."""

    size: int = 3
    stride: int = 1
    padding: int | str | None = None
    norm: Norm | None = batch_norm
    activation: Activation = identity
    attention: Attention | None = None
    kernel_init: Initializer = he_fan_out

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        conv = DepthwiseConv(
            self.size,
            self.stride,
            self.padding,
            use_bias=self.norm is None,
            kernel_init=self.kernel_init,
            name="conv",
        )
        return _finish(self, conv(x), train=train)


def _finish(block: ConvBlock | DepthwiseBlock, x: jax.Array, *, train: bool) -> jax.Array:
    """What follows a block's convolution; the modules made here belong to the block."""
    if block.norm is not None:
        x = block.norm(name="norm")(x, train=train)
    x = block.activation(x)
    return x if block.attention is None else block.attention(name="attention")(x)


class L2Norm(nn.Module):
    """Every pixel's feature vector at unit length, times a learnt scale per channel.

    ParseNet (Liu et al. 2015, arXiv:1506.04579, section 3.3); SSD begins with a scale of 20.
    """

    initial_scale: float = 20.0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.constant(self.initial_scale), (x.shape[-1],))
        squares = jnp.square(full(x)).sum(-1, keepdims=True)
        # A root would have no gradient at a pixel whose features are all zero.
        y = x * jax.lax.rsqrt(jnp.maximum(squares, 1e-20)) * as_map(scale)
        return y.astype(x.dtype)


def maps_at(maps: Mapping[int, jax.Array], strides: Sequence[int]) -> tuple[jax.Array, ...]:
    """What a backbone returns: the maps of `strides` out of those that it made, by stride.

    ValueError for a stride that it does not have.
    """
    missing = [stride for stride in strides if stride not in maps]
    if missing:
        raise ValueError(f"the backbone has maps of strides {sorted(maps)}, not of {missing}")
    return tuple(maps[stride] for stride in strides)


def round_channels(channels: float) -> int:
    """The nearest multiple of 8, unless it is more than a tenth below (code of arXiv:1801.04381).

    MobileNets and EfficientNets round all channel counts so when they are multiplied.
    """
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8
