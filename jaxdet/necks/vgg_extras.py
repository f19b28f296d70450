"""SSD300's extra maps on VGG16 (Liu et al. 2016, arXiv:1512.02325, figure 2)."""

from functools import partial

import flax.linen as nn
import jax

from jaxdet.layers import Conv, L2Norm


class VGGExtras(nn.Module):
    """conv4_3 at a learnt length, fc7, and one coarser map for every row of `rows`.

    A row is squeeze channels, channels, kernel side, stride, padding: a 1x1 convolution, then one
    of that side, each with a ReLU. `width` multiplies the channel counts.
    """

    rows: tuple[tuple[int, int, int, int, int], ...]
    width: float = 1.0

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], train: bool) -> tuple[jax.Array, ...]:
        conv4_3, x = maps
        levels = [L2Norm(name="norm4_3")(conv4_3), x]
        for i, (squeeze, channels, size, stride, padding) in enumerate(self.rows, start=8):
            x = nn.relu(Conv(int(squeeze * self.width), 1, name=f"conv{i}_1")(x))
            conv = Conv(int(channels * self.width), size, stride, padding, name=f"conv{i}_2")
            x = nn.relu(conv(x))
            levels.append(x)
        return tuple(levels)


vgg_extras = partial(
    VGGExtras,
    rows=((256, 512, 3, 2, 1), (128, 256, 3, 2, 1), (128, 256, 3, 1, 0), (128, 256, 3, 1, 0)),
)
