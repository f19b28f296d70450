"""CSPDarknet-53, YOLOv4's backbone (Wang et al. 2019, arXiv:1911.11929; arXiv:2004.10934)."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdet.backbones.darknet53 import Darknet53, Residual
from jaxdet.layers.activations import mish
from jaxdet.layers.blocks import Activation, ConvBlock, Norm, he_fan_in
from jaxdet.layers.norms import batch_norm


class CSPStage(nn.Module):
    """A stage of residual blocks on one of two parallel 1x1 convolutions of the map.

    `features` are the channels of each part, `narrow` those within a block; what leaves the blocks
    is joined with the other part, the processed one first, and merged by a 1x1 convolution.
    """

    blocks: int
    features: int
    narrow: int
    norm: Norm | None = batch_norm
    activation: Activation = mish

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        options = dict(norm=self.norm, activation=self.activation)
        conv = partial(ConvBlock, **options, kernel_init=he_fan_in)
        channels = x.shape[-1]
        aside = conv(self.features, name="aside")(x, train=train)
        x = conv(self.features, name="enter")(x, train=train)
        for i in range(1, self.blocks + 1):
            x = Residual(self.narrow, **options, name=f"block{i}")(x, train=train)
        x = conv(self.features, name="leave")(x, train=train)
        joined = jnp.concatenate([x, aside], axis=-1)
        return conv(channels, name="merge")(joined, train=train)


class CSPDarknet53(Darknet53):
    """Maps of strides 2 to 32; by default 8, 16 and 32, with 256, 512 and 1024 channels.

    The first stage keeps all its channels in both parts, the others halve them. `width` multiplies
    the channel counts.
    """

    activation: Activation = mish

    def _stage(self, x: jax.Array, stage: int, blocks: int, *, train: bool, **options) -> jax.Array:
        half = x.shape[-1] // 2
        features = x.shape[-1] if stage == 1 else half
        return CSPStage(blocks, features, half, **options, name=f"stage{stage}")(x, train=train)


cspdarknet53 = CSPDarknet53
