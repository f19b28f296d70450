"""Coarser maps by MobileNetV3's blocks, for SSD (lufficc/SSD)."""

import flax.linen as nn
import jax

from jaxdet.backbones.mobilenet_v3 import Bottleneck
from jaxdet.layers import hard_swish, round_channels

_ROWS = ((512, 0.2), (256, 0.25), (256, 0.5), (64, 0.25))  # channels, expansion; as in V2's


class MobileNetV3Extras(nn.Module):
    """The maps of the backbone, and four more, each half the size of the one before."""

    width: float = 1.0

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], train: bool) -> tuple[jax.Array, ...]:
        levels = list(maps)
        for i, (channels, expansion) in enumerate(_ROWS, start=1):
            block = Bottleneck(
                features=round_channels(channels * self.width),
                wide=round_channels(levels[-1].shape[-1] * expansion),
                size=3,
                stride=2,
                squeeze=True,
                activation=hard_swish,
                squeeze_first=True,
                name=f"block{i}",
            )
            levels.append(block(levels[-1], train=train)[1])
        return tuple(levels)


mobilenet_v3_extras = MobileNetV3Extras
