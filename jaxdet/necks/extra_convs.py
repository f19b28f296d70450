"""Coarser maps by plain strided convolutions (the extra feature layers of SSD, section 2.1)."""

import flax.linen as nn
import jax

from jaxdet.layers.activations import relu
from jaxdet.layers.blocks import Activation, ConvBlock, Norm
from jaxdet.layers.norms import batch_norm


class ExtraConvs(nn.Module):
    """The maps of the backbone, and for each of `channels` one more, half the size of the last."""

    channels: tuple[int, ...] = ()
    norm: Norm | None = batch_norm
    activation: Activation = relu

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], *, train: bool) -> tuple[jax.Array, ...]:
        levels = list(maps)
        for i, channels in enumerate(self.channels, start=1):
            options = dict(norm=self.norm, activation=self.activation, name=f"down{i}")
            levels.append(ConvBlock(channels, 3, 2, **options)(levels[-1], train=train))
        return tuple(levels)


extra_convs = ExtraConvs
