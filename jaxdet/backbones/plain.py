"""A small backbone for learning and testing: five convolutions that each halve the map."""

import flax.linen as nn
import jax

from jaxdet.layers.activations import relu
from jaxdet.layers.blocks import Activation, ConvBlock, Norm, maps_at
from jaxdet.layers.norms import batch_norm


class Plain(nn.Module):
    """3x3 convolutions of stride 2, each with its normalisation and activation.

    All but the first are followed by a second convolution of stride 1. `channels` has one count per
    halving: strides 2, 4, 8 and so on.
    """

    channels: tuple[int, ...] = (16, 32, 64, 96, 128)
    norm: Norm | None = batch_norm
    activation: Activation = relu
    strides: tuple[int, ...] = (8, 16, 32)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        block = dict(norm=self.norm, activation=self.activation)
        maps = {}
        for i, channels in enumerate(self.channels, start=1):
            x = ConvBlock(channels, 3, 2, **block, name=f"down{i}")(x, train=train)
            if i >= 2:
                x = ConvBlock(channels, 3, **block, name=f"conv{i}")(x, train=train)
            maps[2**i] = x
        return maps_at(maps, self.strides)


plain = Plain
