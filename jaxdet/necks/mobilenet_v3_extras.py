"""Coarser maps by MobileNetV3's blocks, for SSD (lufficc/SSD)."""

import flax.linen as nn
import jax

from jaxdet.layers.activations import hard_swish
from jaxdet.layers.blocks import Activation, Norm, round_channels
from jaxdet.layers.inverted_residual import SqueezedResidual
from jaxdet.layers.norms import batch_norm

_ROWS = ((512, 0.2), (256, 0.25), (256, 0.5), (64, 0.25))  # channels, expansion; as in V2's


class MobileNetV3Extras(nn.Module):
    """The maps of the backbone, and four more, each half the size of the one before."""

    width: float = 1.0
    norm: Norm | None = batch_norm
    activation: Activation = hard_swish

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], *, train: bool) -> tuple[jax.Array, ...]:
        levels = list(maps)
        for i, (channels, expansion) in enumerate(_ROWS, start=1):
            block = SqueezedResidual(
                features=round_channels(channels * self.width),
                wide=round_channels(levels[-1].shape[-1] * expansion),
                size=3,
                stride=2,
                squeeze=True,
                squeeze_first=True,
                norm=self.norm,
                activation=self.activation,
                name=f"block{i}",
            )
            levels.append(block(levels[-1], train=train)[1])
        return tuple(levels)


mobilenet_v3_extras = MobileNetV3Extras
