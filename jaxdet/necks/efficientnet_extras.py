"""SSD300's extra maps on an EfficientNet, as in lufficc/SSD."""

import flax.linen as nn
import jax

from jaxdet.layers.activations import relu
from jaxdet.layers.blocks import Activation
from jaxdet.necks.vgg_extras import coarser_maps

_ROWS = ((128, 256, 3, 2, 1), (128, 256, 3, 1, 0), (128, 256, 3, 1, 0))


class EfficientNetExtras(nn.Module):
    """The maps of the backbone, and three more: 5x5, 3x3 and 1x1 at 300 pixels."""

    width: float = 1.0
    activation: Activation = relu

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], *, train: bool) -> tuple[jax.Array, ...]:
        options = dict(width=self.width, activation=self.activation)
        return (*maps, *coarser_maps(maps[-1], _ROWS, first=1, **options))


efficientnet_extras = EfficientNetExtras
