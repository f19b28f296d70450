"""EfficientNet (Tan and Le 2019, arXiv:1905.11946): the family, and its B3."""

import math
from functools import partial

import flax.linen as nn
import jax

from jaxdet.layers.activations import identity, sigmoid, swish
from jaxdet.layers.attention import SqueezeExcite
from jaxdet.layers.blocks import (
    Activation,
    ConvBlock,
    DepthwiseBlock,
    Norm,
    maps_at,
    round_channels,
)
from jaxdet.layers.norms import BatchNorm

# Table 1: expansion, channels, blocks, stride of the first, kernel size.
_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)

_norm = partial(BatchNorm, momentum=0.99, epsilon=1e-3)  # as in the authors' code


class MBConv(nn.Module):
    """Expand, filter, squeeze-and-excite, project (Tan et al. 2018, arXiv:1807.11626, figure 7).

    `drop` is the probability that an image skips the block, if there is a shortcut. The squeezed
    width is a quarter of the block's input, not of the expanded map.
    """

    features: int
    stride: int
    expansion: int
    size: int
    drop: float
    norm: Norm | None = _norm
    activation: Activation = swish

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        # The weights were trained in TensorFlow, hence its padding.
        options = dict(padding="SAME", norm=self.norm, activation=self.activation)
        channels, y = x.shape[-1], x
        if self.expansion != 1:
            y = ConvBlock(channels * self.expansion, **options, name="expand")(y, train=train)
        y = DepthwiseBlock(self.size, self.stride, **options, name="depthwise")(y, train=train)
        hidden = max(1, channels // 4)
        y = SqueezeExcite(hidden, self.activation, sigmoid, name="squeeze")(y, train=train)
        options["activation"] = identity
        y = ConvBlock(self.features, **options, name="project")(y, train=train)
        if self.stride != 1 or channels != self.features:
            return y
        whole_images = nn.Dropout(self.drop, broadcast_dims=(1, 2, 3))
        return x + whole_images(y, deterministic=not train)


class EfficientNet(nn.Module):
    """Maps of strides 2 to 32 without the classifier's last convolution; by default 8, 16 and 32.

    `width` multiplies the channel counts, `depth` the blocks of every stage (section 3.3).
    `drop_connect` is the probability of skipping a block, rising from 0 at the first to nearly this
    at the last (stochastic depth, Huang et al. 2016, arXiv:1603.09382); its key is "dropout".
    """

    width: float
    depth: float
    drop_connect: float = 0.2
    norm: Norm | None = _norm
    activation: Activation = swish
    strides: tuple[int, ...] = (8, 16, 32)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        options = dict(norm=self.norm, activation=self.activation)
        channels = round_channels(32 * self.width)
        x = ConvBlock(channels, 3, 2, "SAME", **options, name="stem")(x, train=train)
        counts = [math.ceil(count * self.depth) for _, _, count, _, _ in _STAGES]
        number, stride, maps = 0, 2, {}  # maps: the last of each stride
        for count, (expansion, channels, _, first_stride, size) in zip(
            counts, _STAGES, strict=True
        ):
            for i in range(count):
                step = first_stride if i == 0 else 1
                drop = self.drop_connect * number / sum(counts)
                features = round_channels(channels * self.width)
                number += 1
                block = MBConv(
                    features, step, expansion, size, drop, **options, name=f"block{number}"
                )
                x = block(x, train=train)
                stride *= step
                maps[stride] = x
        return maps_at(maps, self.strides)


efficientnet_b3 = partial(EfficientNet, width=1.2, depth=1.4)
