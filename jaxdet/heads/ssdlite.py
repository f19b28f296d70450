"""SSD's head with separable convolutions (Sandler et al. 2018, arXiv:1801.04381, section 6.2)."""

from functools import partial

import flax.linen as nn
import jax

from jaxdet.heads.ssd import predict_levels
from jaxdet.layers.activations import relu6
from jaxdet.layers.blocks import Activation, Conv, DepthwiseConv, Initializer, Norm, widened
from jaxdet.layers.norms import batch_norm


class SeparableConv(nn.Module):
    """A 3x3 depthwise convolution with bias, BatchNorm, ReLU6, and a 1x1 convolution with bias."""

    features: int
    norm: Norm = batch_norm
    activation: Activation = relu6
    bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = DepthwiseConv(use_bias=True, name="depthwise")(widened(x, self.activation))
        x = self.activation(self.norm(name="norm")(x, train=train))
        return Conv(self.features, 1, bias_init=self.bias_init, name="pointwise")(x)


class SSDLiteHead(nn.Module):
    """As `SSDHead`, separable on every map but the last, where it is one 1x1 convolution."""

    num_classes: int
    num_anchors: tuple[int, ...]
    norm: Norm = batch_norm
    activation: Activation = relu6
    initial_probability: float = 0.0

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], *, train: bool) -> tuple[jax.Array, jax.Array]:
        last = len(self.num_anchors) - 1

        def layer(level: int, features: int, name: str, bias: Initializer):
            if level == last:
                return Conv(features, 1, bias_init=bias, name=name)
            separable = SeparableConv(features, self.norm, self.activation, bias, name=name)
            return partial(separable, train=train)

        options = dict(initial_probability=self.initial_probability)
        return predict_levels(maps, self.num_anchors, self.num_classes, layer, **options)


ssdlite = SSDLiteHead
