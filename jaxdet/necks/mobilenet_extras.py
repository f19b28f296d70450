"""Coarser maps by inverted residuals, for SSD on a MobileNet (arXiv:1801.04381, section 6.2)."""

import flax.linen as nn
import jax

from jaxdet.backbones.mobilenet_v2 import InvertedResidual

_ROWS = ((512, 0.2), (256, 0.25), (256, 0.5), (64, 0.25))  # channels, expansion; as in lufficc/SSD


class MobileNetExtras(nn.Module):
    """The maps of the backbone, and four more, each half the size of the one before."""

    width: float = 1.0

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], train: bool) -> tuple[jax.Array, ...]:
        levels = list(maps)
        for i, (channels, expansion) in enumerate(_ROWS, start=1):
            block = InvertedResidual(int(channels * self.width), 2, expansion, name=f"block{i}")
            levels.append(block(levels[-1], train=train))
        return tuple(levels)


mobilenet_extras = MobileNetExtras
