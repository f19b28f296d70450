"""Darknet-53 (Redmon and Farhadi 2018, arXiv:1804.02767, table 1)."""

import flax.linen as nn
import jax

from jaxdet.backbones.darknet19 import ConvLeaky

BLOCKS = (1, 2, 8, 8, 4)  # residual blocks of every stage


class Residual(nn.Module):
    """Half the channels by 1x1, all of them by 3x3, and the input added after the activation."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        channels = x.shape[-1]
        y = ConvLeaky(channels // 2, name="narrow")(x, train=train)
        return x + ConvLeaky(channels, 3, name="widen")(y, train=train)


class Darknet53(nn.Module):
    """Returns the last maps of strides 8, 16 and 32: 256, 512 and 1024 channels.

    `width` multiplies the channel counts.
    """

    width: float = 1.0

    strides = (8, 16, 32)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, ...]:
        channels, maps = int(32 * self.width), []
        x = ConvLeaky(channels, 3, name="stem")(x, train=train)
        for stage, count in enumerate(BLOCKS, start=1):
            channels *= 2
            x = ConvLeaky(channels, 3, 2, name=f"down{stage}")(x, train=train)
            for i in range(1, count + 1):
                x = Residual(name=f"block{stage}_{i}")(x, train=train)
            maps.append(x)
        return tuple(maps[-3:])


darknet53 = Darknet53
