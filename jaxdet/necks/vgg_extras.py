"""SSD300's extra maps on VGG16 (Liu et al. 2016, arXiv:1512.02325, figure 2)."""

from functools import partial

import flax.linen as nn
import jax

from jaxdet.layers.activations import relu
from jaxdet.layers.blocks import Activation, Conv, L2Norm, pieces_of

Row = tuple[int, int, int, int, int]  # squeeze channels, channels, kernel size, stride, padding


def coarser_maps(
    x: jax.Array, rows: tuple[Row, ...], *, width: float, activation: Activation, first: int
) -> list[jax.Array]:
    """A map for every row, from the one before: a 1x1 convolution, then one of the row's size.

    `activation` follows each; `width` multiplies the channel counts. The layers, named
    conv{first}_1 and so on, belong to the module that calls this.
    """
    maps, pieces = [], pieces_of(activation)
    for i, (squeeze, channels, size, stride, padding) in enumerate(rows, start=first):
        x = activation(Conv(int(squeeze * width) * pieces, 1, name=f"conv{i}_1")(x))
        features = int(channels * width) * pieces
        x = activation(Conv(features, size, stride, padding, name=f"conv{i}_2")(x))
        maps.append(x)
    return maps


class VGGExtras(nn.Module):
    """The finest map (conv4_3) after `L2Norm`, the others, and those of `coarser_maps`."""

    rows: tuple[Row, ...]
    width: float = 1.0
    activation: Activation = relu

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], *, train: bool) -> tuple[jax.Array, ...]:
        options = dict(width=self.width, activation=self.activation)
        coarser = coarser_maps(maps[-1], self.rows, first=8, **options)
        return (L2Norm(name="norm4_3")(maps[0]), *maps[1:], *coarser)


vgg_extras = partial(
    VGGExtras,
    rows=((256, 512, 3, 2, 1), (128, 256, 3, 2, 1), (128, 256, 3, 1, 0), (128, 256, 3, 1, 0)),
)
