"""ResNet-50 (He et al. 2015, arXiv:1512.03385, table 1)."""

from functools import partial

import flax.linen as nn
import jax

from jaxdet.layers.activations import identity, relu
from jaxdet.layers.blocks import Activation, ConvBlock, Norm, maps_at, pieces_of
from jaxdet.layers.norms import batch_norm
from jaxdet.layers.pool import max_pool


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, the last to 4 x `features`, and a shortcut (figure 5).

    The stride is in the 3x3 convolution, as in torchvision's weights; the paper's is in the first.
    """

    features: int
    stride: int
    norm: Norm | None = batch_norm
    activation: Activation = relu

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        conv = partial(ConvBlock, norm=self.norm, activation=self.activation)
        y = conv(self.features, name="conv1")(x, train=train)
        y = conv(self.features, 3, self.stride, name="conv2")(y, train=train)
        linear = partial(conv, 4 * self.features * pieces_of(self.activation), activation=identity)
        y = linear(name="conv3")(y, train=train)
        if x.shape != y.shape:
            x = linear(stride=self.stride, name="shortcut")(x, train=train)
        return self.activation(x + y)


class ResNet(nn.Module):
    """Maps of strides 4 to 32; by default 8, 16 and 32: 512, 1024 and 2048 channels.

    `blocks` has the number of blocks per stage; `width` multiplies the channel counts.
    """

    blocks: tuple[int, ...]
    width: float = 1.0
    norm: Norm | None = batch_norm
    activation: Activation = relu
    strides: tuple[int, ...] = (8, 16, 32)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        options = dict(norm=self.norm, activation=self.activation)
        channels, maps = int(64 * self.width), {}
        x = ConvBlock(channels, 7, 2, **options, name="stem")(x, train=train)
        x = max_pool(x, 3, stride=2, padding=1)
        for stage, count in enumerate(self.blocks, start=1):
            for i in range(1, count + 1):
                stride = 2 if i == 1 and stage > 1 else 1
                block = Bottleneck(channels, stride, **options, name=f"block{stage}_{i}")
                x = block(x, train=train)
            channels *= 2
            maps[2 ** (stage + 1)] = x
        return maps_at(maps, self.strides)


resnet50 = partial(ResNet, blocks=(3, 4, 6, 3))
