"""SSDLite's coarser maps, as in torchvision and mmdetection (arXiv:1801.04381, section 6.2)."""

import flax.linen as nn
import jax

from jaxdet.layers.activations import relu6
from jaxdet.layers.blocks import Activation, ConvBlock, DepthwiseBlock, Norm
from jaxdet.layers.norms import slow_batch_norm


class SeparableDown(nn.Module):
    """Reduce to half of `features`, halve the map by a depthwise convolution, expand.

    All three have an activation. An inverted residual is wide inside and ends without one; this is
    the opposite.
    """

    features: int
    norm: Norm | None = slow_batch_norm
    activation: Activation = relu6

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        options = dict(norm=self.norm, activation=self.activation)
        x = ConvBlock(self.features // 2, **options, name="narrow")(x, train=train)
        x = DepthwiseBlock(stride=2, **options, name="depthwise")(x, train=train)
        return ConvBlock(self.features, **options, name="widen")(x, train=train)


class SSDLiteExtras(nn.Module):
    """The maps of the backbone, and four more, each half the size of the one before."""

    width: float = 1.0
    norm: Norm | None = slow_batch_norm
    activation: Activation = relu6

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], *, train: bool) -> tuple[jax.Array, ...]:
        options = dict(norm=self.norm, activation=self.activation)
        levels = list(maps)
        for i, channels in enumerate((512, 256, 256, 128), start=1):
            down = SeparableDown(int(channels * self.width), **options, name=f"down{i}")
            levels.append(down(levels[-1], train=train))
        return tuple(levels)


ssdlite_extras = SSDLiteExtras
