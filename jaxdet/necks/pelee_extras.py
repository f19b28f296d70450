"""Pelee's coarser maps and residual prediction blocks (arXiv:1804.06882, section 3.1)."""

from functools import partial

import flax.linen as nn
import jax

from jaxdet.layers.activations import identity, relu
from jaxdet.layers.blocks import Activation, ConvBlock, Norm, pieces_of
from jaxdet.layers.norms import batch_norm
from jaxdet.necks.vgg_extras import coarser_maps

_ROWS = ((256, 256, 3, 2, 1), (128, 256, 3, 1, 0), (128, 256, 3, 1, 0))


class ResidualPrediction(nn.Module):
    """1x1, 3x3 and 1x1 convolutions added to another 1x1 convolution."""

    features: int
    norm: Norm | None = batch_norm
    activation: Activation = relu

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        conv = partial(ConvBlock, norm=self.norm, activation=self.activation)
        y = conv(self.features // 2, name="conv1")(x, train=train)
        y = conv(self.features // 2, 3, name="conv2")(y, train=train)
        linear = partial(conv, self.features * pieces_of(self.activation), activation=identity)
        y = linear(name="conv3")(y, train=train)
        return self.activation(linear(name="shortcut")(x, train=train) + y)


class PeleeExtras(nn.Module):
    """A map of 256 channels for every map of the backbone, the finest twice, and three more.

    The three are of 5x5, 3x3 and 1x1 at 304 pixels. Each map goes through a residual block. The
    first is returned twice, because Pelee predicts small and larger boxes from it: that of stride 8
    would cost too much. `width` multiplies the channel counts.
    """

    width: float = 1.0
    norm: Norm | None = batch_norm
    activation: Activation = relu

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], *, train: bool) -> tuple[jax.Array, ...]:
        coarser = coarser_maps(
            maps[-1], _ROWS, width=self.width, activation=self.activation, first=1
        )
        options = dict(norm=self.norm, activation=self.activation)
        levels = []
        for i, x in enumerate((*maps, *coarser)):
            block = ResidualPrediction(int(256 * self.width), **options, name=f"block{i}")
            levels.append(block(x, train=train))
        return (levels[0], *levels)


pelee_extras = PeleeExtras
