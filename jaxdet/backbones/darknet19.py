"""Darknet-19 (Redmon and Farhadi 2016, arXiv:1612.08242, table 6)."""

from functools import partial

import flax.linen as nn
import jax

from jaxdet.layers.activations import leaky_relu
from jaxdet.layers.blocks import Activation, ConvBlock, Norm, he_fan_in, maps_at
from jaxdet.layers.norms import batch_norm
from jaxdet.layers.pool import max_pool

# Channels and convolutions of every block; every second convolution is 1x1 with half the channels.
BLOCKS = ((32, 1), (64, 1), (128, 3), (256, 3), (512, 5), (1024, 5))


class Darknet19(nn.Module):
    """Maps of strides 1 to 32; by default those of 16 and 32, with 512 and 1024 channels.

    `width` multiplies the channel counts. Without `norm`, as in YOLO, convolutions have a bias;
    adding BatchNorm is the first of YOLOv2's improvements (section 2).
    """

    width: float = 1.0
    norm: Norm | None = batch_norm
    activation: Activation = leaky_relu
    strides: tuple[int, ...] = (16, 32)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        options = dict(norm=self.norm, activation=self.activation, kernel_init=he_fan_in)
        conv, maps = partial(ConvBlock, **options), {}
        for block, (channels, count) in enumerate(BLOCKS, start=1):
            if block > 1:
                x = max_pool(x, 2, stride=2)
            for i in range(1, count + 1):
                narrow = i % 2 == 0
                features = int(channels * self.width) // (2 if narrow else 1)
                x = conv(features, 1 if narrow else 3, name=f"conv{block}_{i}")(x, train=train)
            maps[2 ** (block - 1)] = x
        return maps_at(maps, self.strides)


darknet19 = Darknet19
