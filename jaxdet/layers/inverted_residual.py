"""The residual blocks of MobileNets, wide inside and narrow outside."""

from functools import partial

import flax.linen as nn
import jax

from jaxdet.layers.activations import hard_swish, identity, relu6
from jaxdet.layers.attention import SqueezeExcite
from jaxdet.layers.blocks import (
    Activation,
    ConvBlock,
    DepthwiseBlock,
    Norm,
    round_channels,
    widened,
)
from jaxdet.layers.norms import batch_norm


class InvertedResidual(nn.Module):
    """A 1x1 convolution that expands, a depthwise one, and a linear 1x1 that projects.

    MobileNetV2's block (Sandler et al. 2018, arXiv:1801.04381, section 3.3).

    `expansion` is the ratio of expanded to input channels; at 1 there is no expansion.
    """

    features: int
    stride: int
    expansion: float
    norm: Norm | None = batch_norm
    activation: Activation = relu6

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        options = dict(norm=self.norm, activation=self.activation)
        channels, y = x.shape[-1], x
        if self.expansion != 1:
            wide = round(channels * self.expansion)
            y = ConvBlock(wide, **options, name="expand")(y, train=train)
        y = DepthwiseBlock(stride=self.stride, **options, name="depthwise")(y, train=train)
        options["activation"] = identity
        y = ConvBlock(self.features, **options, name="project")(y, train=train)
        return x + y if self.stride == 1 and channels == self.features else y


class SqueezedResidual(nn.Module):
    """Expand, filter, squeeze-and-excite, project; returns the expanded map and the output.

    MobileNetV3's block (Howard et al. 2019, arXiv:1905.02244, figure 4).

    `wide` is the number of expanded channels; if the input has as many, there is no expansion.
    `squeeze_first` puts squeeze-and-excite before the activation.
    """

    features: int
    wide: int
    size: int
    stride: int
    squeeze: bool
    squeeze_first: bool
    norm: Norm | None = batch_norm
    activation: Activation = hard_swish

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        conv, wide = partial(ConvBlock, norm=self.norm), x
        if self.wide != x.shape[-1]:
            expand = conv(self.wide, activation=self.activation, name="expand")
            wide = expand(x, train=train)
        depthwise = DepthwiseBlock(self.size, self.stride, norm=self.norm, name="depthwise")
        y = depthwise(widened(wide, self.activation), train=train)
        y = self._excite(y, train=train)
        y = conv(self.features, activation=identity, name="project")(y, train=train)
        return wide, x + y if self.stride == 1 and x.shape == y.shape else y

    def _excite(self, y: jax.Array, *, train: bool) -> jax.Array:
        if not self.squeeze:
            return self.activation(y)
        squeeze = SqueezeExcite(round_channels(self.wide // 4), name="squeeze")
        if self.squeeze_first:
            return self.activation(squeeze(y, train=train))
        return squeeze(self.activation(y), train=train)
