"""SSD's head with separable convolutions (Sandler et al. 2018, arXiv:1801.04381, section 6.2)."""

from functools import partial

import flax.linen as nn
import jax

from jaxdet.heads.ssd import predict_levels
from jaxdet.layers import BatchNorm, Conv, DepthwiseConv, relu6


class SeparableConv(nn.Module):
    """A 3x3 depthwise convolution with bias, BatchNorm, ReLU6, and a 1x1 convolution with bias."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = DepthwiseConv(use_bias=True, name="depthwise")(x)
        x = relu6(BatchNorm(name="norm")(x, train=train))
        return Conv(self.features, 1, name="pointwise")(x)


class SSDLiteHead(nn.Module):
    """As `SSDHead`, separable on every map but the last, where it is one 1x1 convolution."""

    num_classes: int
    num_anchors: tuple[int, ...]

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], train: bool) -> tuple[jax.Array, jax.Array]:
        last = len(self.num_anchors) - 1

        def layer(level: int, features: int, name: str):
            if level == last:
                return Conv(features, 1, name=name)
            return partial(SeparableConv(features, name=name), train=train)

        return predict_levels(maps, self.num_anchors, self.num_classes, layer)


ssdlite = SSDLiteHead
