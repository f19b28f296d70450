"""SSDLite's head as in torchvision and mmdetection: separable on every map, even the last."""

from functools import partial

import flax.linen as nn
import jax

from jaxdet.heads.ssd import predict_levels
from jaxdet.layers.activations import relu6
from jaxdet.layers.blocks import Activation, Conv, DepthwiseBlock, Initializer, Norm
from jaxdet.layers.norms import slow_batch_norm


class SeparableConv(nn.Module):
    """A 3x3 depthwise convolution, BatchNorm, ReLU6, and a 1x1 convolution with bias."""

    features: int
    norm: Norm | None = slow_batch_norm
    activation: Activation = relu6
    bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        options = dict(norm=self.norm, activation=self.activation)
        x = DepthwiseBlock(**options, name="depthwise")(x, train=train)
        return Conv(self.features, 1, bias_init=self.bias_init, name="pointwise")(x)


class SSDLiteSeparableHead(nn.Module):
    """As `SSDHead`, with separable convolutions (arXiv:1801.04381, section 6.2)."""

    num_classes: int
    num_anchors: tuple[int, ...]
    norm: Norm | None = slow_batch_norm
    activation: Activation = relu6
    initial_probability: float = 0.0

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], *, train: bool) -> tuple[jax.Array, jax.Array]:
        def layer(level: int, features: int, name: str, bias: Initializer):
            separable = SeparableConv(features, self.norm, self.activation, bias, name=name)
            return partial(separable, train=train)

        options = dict(initial_probability=self.initial_probability)
        return predict_levels(maps, self.num_anchors, self.num_classes, layer, **options)


ssdlite_separable = SSDLiteSeparableHead
