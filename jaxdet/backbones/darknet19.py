"""Darknet-19 (Redmon and Farhadi 2016, arXiv:1612.08242, table 6)."""

import flax.linen as nn
import jax

from jaxdet.layers import BatchNorm, Conv, he_fan_in, leaky_relu
from jaxdet.pool import max_pool

# Channels and convolutions of every block; every second convolution is 1x1 with half the channels.
BLOCKS = ((32, 1), (64, 1), (128, 3), (256, 3), (512, 5), (1024, 5))


class ConvLeaky(nn.Module):
    """A convolution, BatchNorm and a leaky ReLU; without `batch_norm` there is a bias instead."""

    features: int
    size: int = 1
    stride: int = 1
    batch_norm: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = Conv(
            self.features,
            self.size,
            self.stride,
            use_bias=not self.batch_norm,
            kernel_init=he_fan_in,
            name="conv",
        )(x)
        if self.batch_norm:
            x = BatchNorm(name="norm")(x, train=train)
        return leaky_relu(x)


class Darknet19(nn.Module):
    """Returns the last maps of strides 16 and 32, 512 and 1024 channels.

    `batch_norm` as in `ConvLeaky`: the first of YOLOv2's steps from YOLO (section 2). `width`
    multiplies the channel counts.
    """

    batch_norm: bool = True
    width: float = 1.0

    strides = (16, 32)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, ...]:
        maps = []
        for block, (channels, count) in enumerate(BLOCKS, start=1):
            if block > 1:
                x = max_pool(x, 2, stride=2)
            for i in range(1, count + 1):
                narrow = i % 2 == 0
                features = int(channels * self.width) // (2 if narrow else 1)
                size, name = 1 if narrow else 3, f"conv{block}_{i}"
                x = ConvLeaky(features, size, batch_norm=self.batch_norm, name=name)(x, train=train)
            maps.append(x)
        return tuple(maps[-2:])


darknet19 = Darknet19
