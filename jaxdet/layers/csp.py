"""YOLOX's blocks (Ge et al. 2021, arXiv:2107.08430), which follow CSPNet (arXiv:1911.11929)."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdet.layers.activations import swish
from jaxdet.layers.blocks import Activation, ConvBlock, DepthwiseBlock, Norm
from jaxdet.layers.norms import slow_batch_norm
from jaxdet.layers.pool import spatial_pyramid_pool

# PyTorch's default, which YOLOX keeps: uniform, with a variance of 1 / (3 fan_in).
uniform_fan_in = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class SeparableBlock(nn.Module):
    """A depthwise convolution, then a 1x1; normalisation and activation follow both."""

    features: int
    size: int = 3
    stride: int = 1
    norm: Norm | None = slow_batch_norm
    activation: Activation = swish

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        options = dict(norm=self.norm, activation=self.activation, kernel_init=uniform_fan_in)
        x = DepthwiseBlock(self.size, self.stride, **options, name="depthwise")(x, train=train)
        return ConvBlock(self.features, **options, name="pointwise")(x, train=train)


def conv_blocks(
    norm: Norm | None, activation: Activation, *, depthwise: bool
) -> tuple[Callable[..., nn.Module], Callable[..., nn.Module]]:
    """What makes plain blocks, and what makes the 3x3 ones, separable if `depthwise`.

    Both are called with features, size, stride and a name.
    """
    options = dict(norm=norm, activation=activation)
    plain = partial(ConvBlock, **options, kernel_init=uniform_fan_in)
    return plain, partial(SeparableBlock, **options) if depthwise else plain


class Bottleneck(nn.Module):
    """A 1x1 and a 3x3 convolution of as many channels as x, and with `shortcut` x added."""

    shortcut: bool
    depthwise: bool = False
    norm: Norm | None = slow_batch_norm
    activation: Activation = swish

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        conv, spatial = conv_blocks(self.norm, self.activation, depthwise=self.depthwise)
        y = conv(x.shape[-1], name="conv1")(x, train=train)
        y = spatial(x.shape[-1], 3, name="conv2")(y, train=train)
        return x + y if self.shortcut else y


class CSPLayer(nn.Module):
    """A cross-stage partial layer with `count` bottlenecks, also called C3.

    Two 1x1 convolutions to half of `features`, `conv1` and `conv2`; the bottlenecks on the first;
    both joined, the processed part first; and `conv3`, a 1x1 to `features`.
    """

    features: int
    count: int
    shortcut: bool = True
    depthwise: bool = False
    norm: Norm | None = slow_batch_norm
    activation: Activation = swish

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        conv, _ = conv_blocks(self.norm, self.activation, depthwise=self.depthwise)
        plain = conv(self.features // 2, name="conv2")(x, train=train)
        x = conv(self.features // 2, name="conv1")(x, train=train)
        options = dict(norm=self.norm, activation=self.activation)
        for i in range(1, self.count + 1):
            block = Bottleneck(self.shortcut, self.depthwise, **options, name=f"block{i}")
            x = block(x, train=train)
        return conv(self.features, name="conv3")(jnp.concatenate([x, plain], -1), train=train)


class SPPBottleneck(nn.Module):
    """A 1x1 convolution to half the channels of x, its pools of 5, 9 and 13, and a 1x1."""

    features: int
    norm: Norm | None = slow_batch_norm
    activation: Activation = swish

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        conv, _ = conv_blocks(self.norm, self.activation, depthwise=False)
        x = conv(x.shape[-1] // 2, name="conv1")(x, train=train)
        x = spatial_pyramid_pool(x, input_first=True)
        return conv(self.features, name="conv2")(x, train=train)


def focus(x: jax.Array) -> jax.Array:
    """Stacks every 2x2 pixels of x [B, H, W, C], column by column: [B, H / 2, W / 2, 4 C].

    The order is top left, bottom left, top right, bottom right. ValueError for odd sides.
    """
    batch, height, width, channels = x.shape
    if height % 2 or width % 2:
        raise ValueError(f"focus needs even sides, not {height} x {width} pixels")
    x = x.reshape(batch, height // 2, 2, width // 2, 2, channels).transpose(0, 1, 3, 4, 2, 5)
    return x.reshape(batch, height // 2, width // 2, 4 * channels)


def bottlenecks(depth: float) -> int:
    """How many bottlenecks the smallest layers have: three times `depth`, rounded, at least one."""
    return max(round(3 * depth), 1)
