"""SSDLite's head as torchvision and mmdetection have it: separable on every map, the last too."""

from functools import partial

import flax.linen as nn
import jax

from jaxdet.heads.ssd import predict_levels
from jaxdet.layers import Conv, DepthwiseNorm, relu6, slow_norm


class SeparableConv(nn.Module):
    """A 3x3 depthwise convolution, BatchNorm, ReLU6, and a 1x1 convolution with bias."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = relu6(DepthwiseNorm(norm=slow_norm, name="depthwise")(x, train=train))
        return Conv(self.features, 1, name="pointwise")(x)


class SSDLiteSeparableHead(nn.Module):
    """As `SSDHead`, with separable convolutions (arXiv:1801.04381, section 6.2)."""

    num_classes: int
    num_anchors: tuple[int, ...]

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], train: bool) -> tuple[jax.Array, jax.Array]:
        layer = lambda level, features, name: partial(
            SeparableConv(features, name=name), train=train
        )
        return predict_levels(maps, self.num_anchors, self.num_classes, layer)


ssdlite_separable = SSDLiteSeparableHead
