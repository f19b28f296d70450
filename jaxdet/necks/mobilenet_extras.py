"""Coarser maps by inverted residuals, for SSD on a MobileNet (arXiv:1801.04381, section 6.2)."""

import flax.linen as nn
import jax

from jaxdet.layers.activations import relu6
from jaxdet.layers.blocks import Activation, Norm
from jaxdet.layers.inverted_residual import InvertedResidual
from jaxdet.layers.norms import batch_norm

_ROWS = ((512, 0.2), (256, 0.25), (256, 0.5), (64, 0.25))  # channels, expansion; as in lufficc/SSD


class MobileNetExtras(nn.Module):
    """The maps of the backbone, and four more, each half the size of the one before."""

    width: float = 1.0
    norm: Norm | None = batch_norm
    activation: Activation = relu6

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], *, train: bool) -> tuple[jax.Array, ...]:
        options = dict(norm=self.norm, activation=self.activation)
        levels = list(maps)
        for i, (channels, expansion) in enumerate(_ROWS, start=1):
            features = int(channels * self.width)
            block = InvertedResidual(features, 2, expansion, **options, name=f"block{i}")
            levels.append(block(levels[-1], train=train))
        return tuple(levels)


mobilenet_extras = MobileNetExtras
