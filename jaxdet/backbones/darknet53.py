"""Darknet-53 (Redmon and Farhadi 2018, arXiv:1804.02767, table 1)."""

from functools import partial

import flax.linen as nn
import jax

from jaxdet.layers.activations import leaky_relu
from jaxdet.layers.blocks import Activation, ConvBlock, Norm, he_fan_in, maps_at
from jaxdet.layers.norms import batch_norm

BLOCKS = (1, 2, 8, 8, 4)  # residual blocks of every stage


class Residual(nn.Module):
    """1x1 to `narrow` channels, 3x3 back to all, and the input added after the activation."""

    narrow: int
    norm: Norm | None = batch_norm
    activation: Activation = leaky_relu

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        options = dict(norm=self.norm, activation=self.activation, kernel_init=he_fan_in)
        y = ConvBlock(self.narrow, **options, name="narrow")(x, train=train)
        return x + ConvBlock(x.shape[-1], 3, **options, name="widen")(y, train=train)


class Darknet53(nn.Module):
    """Maps of strides 2 to 32; by default 8, 16 and 32, with 256, 512 and 1024 channels.

    `width` multiplies the channel counts.
    """

    width: float = 1.0
    norm: Norm | None = batch_norm
    activation: Activation = leaky_relu
    strides: tuple[int, ...] = (8, 16, 32)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        options = dict(norm=self.norm, activation=self.activation)
        conv = partial(ConvBlock, **options, kernel_init=he_fan_in)
        channels, maps = int(32 * self.width), {}
        x = conv(channels, 3, name="stem")(x, train=train)
        for stage, count in enumerate(BLOCKS, start=1):
            channels *= 2
            x = conv(channels, 3, 2, name=f"down{stage}")(x, train=train)
            x = maps[2**stage] = self._stage(x, stage, count, train=train, **options)
        return maps_at(maps, self.strides)

    def _stage(self, x: jax.Array, stage: int, blocks: int, *, train: bool, **options) -> jax.Array:
        """What follows the strided convolution of a stage."""
        for i in range(1, blocks + 1):
            block = Residual(x.shape[-1] // 2, **options, name=f"block{stage}_{i}")
            x = block(x, train=train)
        return x


darknet53 = Darknet53
