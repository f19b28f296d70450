"""Spatial pyramid pooling between two 1x1 convolutions, as in later YOLOs' SPPF."""

from functools import partial

import flax.linen as nn
import jax

from jaxdet.layers.activations import swish
from jaxdet.layers.blocks import Activation, ConvBlock, Norm, he_fan_in
from jaxdet.layers.norms import batch_norm
from jaxdet.layers.pool import spatial_pyramid_pool


class SPPF(nn.Module):
    """The coarsest map with its own maxima over 5, 9 and 13 pixels; channels and others as given.

    A 1x1 convolution halves the channels, three 5x5 poolings follow in a row, and a second 1x1
    convolution brings the four maps, joined in this order, back to all channels. (Pooling after He
    et al. 2014, arXiv:1406.4729.)
    """

    norm: Norm | None = batch_norm
    activation: Activation = swish

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], *, train: bool) -> tuple[jax.Array, ...]:
        conv = partial(ConvBlock, norm=self.norm, activation=self.activation, kernel_init=he_fan_in)
        *finer, x = maps
        channels = x.shape[-1]
        x = conv(max(1, channels // 2), name="narrow")(x, train=train)
        x = spatial_pyramid_pool(x, input_first=True)
        return (*finer, conv(channels, name="widen")(x, train=train))


sppf = SPPF
