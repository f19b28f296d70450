"""MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381, section 4)."""

from functools import partial

import flax.linen as nn
import jax

from jaxdet.layers.activations import relu6
from jaxdet.layers.blocks import Activation, ConvBlock, Norm, maps_at, round_channels
from jaxdet.layers.inverted_residual import InvertedResidual
from jaxdet.layers.norms import batch_norm

# Table 2: expansion, channels, blocks, stride of the first.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class MobileNetV2(nn.Module):
    """Maps of strides 2 to 32; by default those of 16 (96 channels) and 32.

    The map of stride 32 is the last before the classifier, with 1280 channels. `width` multiplies
    the channel counts, rounded to multiples of 8; the last 1280 never shrink.
    """

    width: float = 1.0
    norm: Norm | None = batch_norm
    activation: Activation = relu6
    strides: tuple[int, ...] = (16, 32)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        options = dict(norm=self.norm, activation=self.activation)
        conv = partial(ConvBlock, **options)
        x = conv(round_channels(32 * self.width), 3, 2, name="stem")(x, train=train)
        number, stride, maps = 0, 2, {}  # maps: the last of each stride
        for expansion, channels, count, first_stride in _STAGES:
            for i in range(count):
                number += 1
                step = first_stride if i == 0 else 1
                features = round_channels(channels * self.width)
                block = InvertedResidual(
                    features, step, expansion, **options, name=f"block{number}"
                )
                x = block(x, train=train)
                stride *= step
                maps[stride] = x
        maps[32] = conv(round(1280 * max(1.0, self.width)), name="last")(x, train=train)
        return maps_at(maps, self.strides)


mobilenet_v2 = MobileNetV2
