"""VGG16 up to its fifth pooling, unmodified (Simonyan and Zisserman 2014, arXiv:1409.1556).

torchvision calls this part `features`; `vgg16` is SSD's variant of the whole network.
"""

import flax.linen as nn
import jax

from jaxdet.layers.activations import relu
from jaxdet.layers.blocks import Activation, Conv, ConvBlock, Norm, he_fan_in, maps_at, pieces_of
from jaxdet.layers.pool import max_pool

_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions; table 1, D


class VGGFeatures(nn.Module):
    """Maps of strides 1 to 32; by default conv4_3, conv5_3 and pool5, all of 512 channels.

    With a `norm`, every convolution has that instead of a bias: it trains much faster from random
    weights, but ImageNet weights do not fit. `width` multiplies the channel counts.
    """

    width: float = 1.0
    norm: Norm | None = None
    activation: Activation = relu
    strides: tuple[int, ...] = (8, 16, 32)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        maps = {}
        for block, (channels, count) in enumerate(_BLOCKS, start=1):
            for i in range(1, count + 1):
                x = self._conv(x, int(channels * self.width), f"conv{block}_{i}", train=train)
            maps[2 ** (block - 1)] = x
            x = max_pool(x, 2, stride=2)
        return maps_at({**maps, 32: x}, self.strides)

    def _conv(self, x: jax.Array, features: int, name: str, *, train: bool) -> jax.Array:
        if self.norm is None:  # with the paper's name, as in the weights of `vgg16`
            features *= pieces_of(self.activation)
            return self.activation(Conv(features, kernel_init=he_fan_in, name=name)(x))
        block = ConvBlock(features, 3, norm=self.norm, activation=self.activation, name=name)
        return block(x, train=train)


vgg16_features = VGGFeatures
