"""The layers and blocks that networks are built from; maps are [B, H, W, C].

Parameters are float32; a layer computes in the dtype of its input. Padding is PyTorch's, the same
number of pixels on every side, because pretrained weights expect it: SAME pads (0, 1) at stride 2
where PyTorch pads (1, 1), and would shift every feature. A network whose weights come from
TensorFlow uses padding="SAME".
"""

import inspect
from collections.abc import Callable, Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdet.layers import convolve
from jaxdet.layers.activations import identity
from jaxdet.layers.norms import batch_norm
from jaxdet.layers.precision import as_map, full

Activation = Callable[[jax.Array], jax.Array]
Attention = Callable[..., nn.Module]  # called with a name, returns a module as for `Norm`
Norm = Callable[..., nn.Module]  # called with a name, returns a module called on (maps, train=...)
Initializer = Callable[..., jax.Array]

xavier_uniform = nn.initializers.xavier_uniform()
he_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
he_fan_in = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


def pieces_of(activation: Activation) -> int:
    """How many channels `activation` takes for each that it gives: 1, except for maxout's.

    It is the argument `pieces` of the function. The layer before it is so many times as wide.
    """
    pieces = inspect.signature(activation).parameters.get("pieces")
    return 1 if pieces is None else pieces.default


def widened(x: jax.Array, activation: Activation) -> jax.Array:
    """x [B, H, W, C], repeated along its channels for a depthwise layer before `activation`."""
    pieces = pieces_of(activation)
    return x if pieces == 1 else jnp.tile(x, pieces)


class Conv(nn.Module):
    """A convolution with a square kernel.

    `padding` is a number of pixels on every side, "SAME" (TensorFlow's), or by default what
    keeps the size at stride 1: (size - 1) // 2 x dilation. ValueError if the map is too small.
    """

    features: int
    size: int = 3
    stride: int = 1
    padding: int | str | None = None
    dilation: int = 1
    use_bias: bool = True
    kernel_init: Initializer = xavier_uniform
    bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        padding = (self.size - 1) // 2 * self.dilation if self.padding is None else self.padding
        if padding == "SAME":
            reach = self.dilation * (self.size - 1) + 1
            x, padding = jnp.pad(x, ((0, 0), *_same(x, reach, self.stride), (0, 0))), 0
        self._check_fits(x, padding)
        x = convolve.conv(
            x, kernel.astype(x.dtype), stride=self.stride, padding=padding, dilation=self.dilation
        )
        return _add_bias(self, x, self.bias_init) if self.use_bias else x

    def _check_fits(self, x: jax.Array, padding: int) -> None:
        rows, columns = (side + 2 * padding for side in x.shape[1:3])
        if min(rows, columns) < self.dilation * (self.size - 1) + 1:
            raise ValueError(
                f"a map of {x.shape[1:3]} cells is too small for {'/'.join(self.path)}, size "
                f"{self.size} with padding {padding}: enlarge the input, or take finer maps"
            )


class DepthwiseConv(nn.Module):
    """A depthwise convolution: a square kernel for every channel; `padding` as in `Conv`."""

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
    """The padding of TensorFlow's SAME: the output is H / stride by W / stride, rounded up.

    `reach` is the side that a kernel covers; an odd pixel goes to the bottom and the right.
    """
    out = [-(-side // stride) for side in x.shape[1:3]]
    more = [
        max((n - 1) * stride + reach - side, 0) for n, side in zip(out, x.shape[1:3], strict=True)
    ]
    return tuple((m // 2, m - m // 2) for m in more)


def _add_bias(
    module: nn.Module, x: jax.Array, init: Initializer = nn.initializers.zeros
) -> jax.Array:
    return plus(x, module.param("bias", init, (x.shape[-1],)))


@jax.custom_vjp
def plus(x: jax.Array, bias: jax.Array) -> jax.Array:
    """Adds `bias` [C] to every pixel of x [B, H, W, C], in the dtype of x.

    In that dtype cuDNN fuses the addition, and the ReLU, into the convolution. The gradient of the
    bias is summed in float32: in bfloat16 a sum over pixels soon stops growing.
    """
    return x + as_map(bias).astype(x.dtype)


def _plus_forward(x, bias):
    return plus(x, bias), None


def _plus_backward(_, dy):
    return dy, full(dy).sum((0, 1, 2))


plus.defvjp(_plus_forward, _plus_backward)


class ConvBlock(nn.Module):
    """A convolution, normalisation, activation and attention: what networks are made of.

    `norm` is called with a name and returns the normalisation module; if it is None, the
    convolution has a bias instead. Then follow `activation` and `attention`, which is called with a
    name and returns a module. The submodules are named `conv`, `norm` and `attention`. The result
    has `features` channels; the convolution and its normalisation have more before a maxout.
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
            self.features * pieces_of(self.activation),
            self.size,
            self.stride,
            self.padding,
            use_bias=self.norm is None,
            kernel_init=self.kernel_init,
            name="conv",
        )
        return _finish(self, conv(x), train=train)


class DepthwiseBlock(nn.Module):
    """As `ConvBlock`, with a depthwise convolution, which keeps the number of channels."""

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
        return _finish(self, conv(widened(x, self.activation)), train=train)


def _finish(block: ConvBlock | DepthwiseBlock, x: jax.Array, *, train: bool) -> jax.Array:
    """Applies what follows a block's convolution; the modules made here belong to the block."""
    if block.norm is not None:
        x = block.norm(name="norm")(x, train=train)
    x = block.activation(x)
    return x if block.attention is None else block.attention(name="attention")(x, train=train)


class L2Norm(nn.Module):
    """Scales every pixel's feature vector to unit length, times a learnt scale per channel.

    ParseNet (Liu et al. 2015, arXiv:1506.04579, section 3.3); SSD starts with a scale of 20.
    """

    initial_scale: float = 20.0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.constant(self.initial_scale), (x.shape[-1],))
        squares = jnp.square(full(x)).sum(-1, keepdims=True)
        # A square root would have no gradient at a pixel whose features are all zero.
        y = x * jax.lax.rsqrt(jnp.maximum(squares, 1e-20)) * as_map(scale)
        return y.astype(x.dtype)


def maps_at(maps: Mapping[int, jax.Array], strides: Sequence[int]) -> tuple[jax.Array, ...]:
    """Selects what a backbone returns: the maps of `strides`, out of all its maps by stride.

    ValueError for a stride that it does not have.
    """
    missing = [stride for stride in strides if stride not in maps]
    if missing:
        raise ValueError(f"the backbone has maps of strides {sorted(maps)}, not of {missing}")
    return tuple(maps[stride] for stride in strides)


def round_channels(channels: float) -> int:
    """The nearest multiple of 8, or the next one if that is more than a tenth below.

    MobileNets and EfficientNets round all multiplied channel counts so (code of arXiv:1801.04381).
    """
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8
