"""SSD300's extra maps on VGG16 (Liu et al. 2016, arXiv:1512.02325, figure 2)."""

from functools import partial

import flax.linen as nn
import jax

from jaxdet.layers import Conv, L2Norm

Row = tuple[int, int, int, int, int]  # squeeze channels, channels, kernel side, stride, padding


def coarser_maps(
    x: jax.Array, rows: tuple[Row, ...], *, width: float, first: int
) -> list[jax.Array]:
    """A map for every row, each from the one before: a 1x1 convolution, then one of the row's side,
    each with a ReLU.

    `width` multiplies the channel counts. The layers, called conv{first}_1 and so on, belong to the
    module that calls this.
    """
    maps = []
    for i, (squeeze, channels, size, stride, padding) in enumerate(rows, start=first):
        x = nn.relu(Conv(int(squeeze * width), 1, name=f"conv{i}_1")(x))
        x = nn.relu(Conv(int(channels * width), size, stride, padding, name=f"conv{i}_2")(x))
        maps.append(x)
    return maps


class VGGExtras(nn.Module):
    """conv4_3 at a learnt length, fc7, and the maps that `coarser_maps` makes of it."""

    rows: tuple[Row, ...]
    width: float = 1.0

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], train: bool) -> tuple[jax.Array, ...]:
        conv4_3, fc7 = maps
        coarser = coarser_maps(fc7, self.rows, width=self.width, first=8)
        return (L2Norm(name="norm4_3")(conv4_3), fc7, *coarser)


vgg_extras = partial(
    VGGExtras,
    rows=((256, 512, 3, 2, 1), (128, 256, 3, 2, 1), (128, 256, 3, 1, 0), (128, 256, 3, 1, 0)),
)
