"""Spatial pyramid pooling before YOLOv4's path aggregation (arXiv:2004.10934, section 3.4)."""

from functools import partial

import flax.linen as nn
import jax

from jaxdet.layers.activations import leaky_relu
from jaxdet.layers.blocks import Activation, ConvBlock, Norm, he_fan_in
from jaxdet.layers.norms import batch_norm
from jaxdet.layers.pool import spatial_pyramid_pool


class SPP(nn.Module):
    """The coarsest map with its own maxima over 5, 9 and 13 pixels, 512 channels; others as given.

    Three convolutions, 1x1, 3x3 and 1x1, are before the pools, and three after them: conv1 to
    conv6, in Darknet's order. They have 512 and 1024 channels; `width` multiplies these. Joined are
    the pools from large to small, then their input, as in YOLOv4; the reverse if `input_first`, as
    in YOLOX.
    """

    width: float = 1.0
    input_first: bool = False
    norm: Norm | None = batch_norm
    activation: Activation = leaky_relu

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], *, train: bool) -> tuple[jax.Array, ...]:
        conv = partial(ConvBlock, norm=self.norm, activation=self.activation, kernel_init=he_fan_in)
        narrow, wide = int(512 * self.width), int(1024 * self.width)
        *finer, x = maps
        for i, (features, size) in enumerate(2 * ((narrow, 1), (wide, 3), (narrow, 1)), start=1):
            if i == 4:
                x = spatial_pyramid_pool(x, input_first=self.input_first)
            x = conv(features, size, name=f"conv{i}")(x, train=train)
        return (*finer, x)


spp = SPP
