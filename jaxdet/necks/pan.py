"""YOLOv4's path aggregation (arXiv:2004.10934, section 3.4; Liu et al. 2018, arXiv:1803.01534)."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdet.layers.activations import leaky_relu
from jaxdet.layers.blocks import Activation, ConvBlock, Norm, he_fan_in
from jaxdet.layers.norms import batch_norm
from jaxdet.necks.passthrough import check_doubles
from jaxdet.necks.yolo_fpn import double


class PAN(nn.Module):
    """A map for every map of the backbone, 256, 512 and 1024 channels, fine to coarse.

    In YOLOv4 the coarsest map comes from `spp`: neck=("spp", "pan"). Level i works with 128 x 2^i
    channels, 0 being the finest; `width` multiplies them. ValueError unless every map is twice as
    large as the next. The layers, in the order of yolov4.cfg:

    - for each level but the coarsest, coarse to fine: `up{i}`, 1x1, of the coarser map, then
      doubled; `lateral{i}`, 1x1, of the backbone's map; both joined, the lateral one first;
      `topdown{i}_1` to `topdown{i}_5`, alternately 1x1 and 3x3, with twice the channels in the 3x3;
    - for each level, fine to coarse: unless it is the finest, `down{i}`, 3x3 at stride 2, of the
      finer map, joined before the level's own, and `bottomup{i}_1` to `bottomup{i}_5`; then
      `out{i}`, 3x3 to twice the channels, so that a head of 1x1 convolutions can follow.
    """

    width: float = 1.0
    norm: Norm | None = batch_norm
    activation: Activation = leaky_relu

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], *, train: bool) -> tuple[jax.Array, ...]:
        block = partial(
            ConvBlock, norm=self.norm, activation=self.activation, kernel_init=he_fan_in
        )
        channels = [int(128 * 2**i * self.width) for i in range(len(maps))]

        def conv(x, features, size, name, stride=1):
            return block(features, size, stride, name=name)(x, train=train)

        def five(x, i, name):
            for j in range(1, 6):
                features, size = (channels[i], 1) if j % 2 else (2 * channels[i], 3)
                x = conv(x, features, size, f"{name}{i}_{j}")
            return x

        levels = list(maps)
        for i in reversed(range(len(maps) - 1)):
            check_doubles(maps[i], maps[i + 1])
            coarse = double(conv(levels[i + 1], channels[i], 1, f"up{i}"))
            lateral = conv(maps[i], channels[i], 1, f"lateral{i}")
            levels[i] = five(jnp.concatenate([lateral, coarse], axis=-1), i, "topdown")
        for i in range(1, len(maps)):
            fine = conv(levels[i - 1], channels[i], 3, f"down{i}", stride=2)
            levels[i] = five(jnp.concatenate([fine, levels[i]], axis=-1), i, "bottomup")
        return tuple(conv(x, 2 * channels[i], 3, f"out{i}") for i, x in enumerate(levels))


pan = PAN
