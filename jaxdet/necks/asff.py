"""Adaptively spatial feature fusion (Liu et al. 2019, arXiv:1911.09516, section 3.1)."""

import itertools
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdet.layers.activations import leaky_relu
from jaxdet.layers.blocks import Activation, Conv, ConvBlock, Norm, he_fan_in
from jaxdet.layers.norms import batch_norm
from jaxdet.layers.pool import max_pool
from jaxdet.layers.precision import full
from jaxdet.necks.passthrough import check_doubles

_SHARE_CHANNELS = 16  # from which the shares of a level are predicted, whatever `width` is


class FusedLevel(nn.Module):
    """The map of one `level` of several, resized to it and added in shares that differ by pixel.

    The shares are the softmax, over the levels, of a 1x1 convolution of all resized maps, each
    reduced to 16 channels. A 3x3 convolution to `features` follows.
    """

    level: int
    features: int
    norm: Norm | None = batch_norm
    activation: Activation = leaky_relu

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], *, train: bool) -> jax.Array:
        conv = partial(ConvBlock, norm=self.norm, activation=self.activation, kernel_init=he_fan_in)
        x = maps[self.level]
        if len(maps) > 1:
            resized = self._resized(maps, conv, train=train)
            hints = [
                conv(_SHARE_CHANNELS, name=f"share{i}")(each, train=train)
                for i, each in enumerate(resized)
            ]
            shares = Conv(len(maps), 1, name="shares")(jnp.concatenate(hints, axis=-1))
            shares = jax.nn.softmax(full(shares), axis=-1)
            terms = (full(each) * shares[..., i, None] for i, each in enumerate(resized))
            x = sum(terms).astype(x.dtype)
        return conv(self.features, 3, name="expand")(x, train=train)

    def _resized(
        self, maps: tuple[jax.Array, ...], conv: partial, *, train: bool
    ) -> list[jax.Array]:
        """All maps with the size and the channels of this level's; `conv` makes a layer."""
        channels, resized = maps[self.level].shape[-1], []
        for i, x in enumerate(maps):
            if i < self.level:  # finer
                for _ in range(self.level - i - 1):
                    x = max_pool(x, 3, stride=2, padding=1)
                x = conv(channels, 3, 2, name=f"resize{i}")(x, train=train)
            elif x.shape[-1] != channels:
                x = conv(channels, name=f"resize{i}")(x, train=train)
            times = 2 ** max(i - self.level, 0)
            resized.append(x.repeat(times, axis=1).repeat(times, axis=2))
        return resized


class ASFF(nn.Module):
    """A map for every map before it, 256, 512 and 1024 channels, fine to coarse.

    Each is a `FusedLevel`: the sum of the maps of all levels, resized to its own size and channels,
    in shares that are learnt for every pixel; then a 3x3 convolution to 256 x 2^i channels for
    level i, 0 being the finest. Coarser maps are repeated, after a 1x1 convolution if their
    channels differ; finer ones go through a 3x3 convolution at stride 2, and before it through a
    3x3 max pooling at stride 2 for each further halving. `width` multiplies the channel counts.
    ASFF follows another neck, as in neck=("spp", "pan", "asff"). ValueError unless every map is
    twice as large as the next.
    """

    width: float = 1.0
    norm: Norm | None = batch_norm
    activation: Activation = leaky_relu

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], *, train: bool) -> tuple[jax.Array, ...]:
        for fine, coarse in itertools.pairwise(maps):
            check_doubles(fine, coarse)
        options = dict(norm=self.norm, activation=self.activation)
        levels = []
        for i in range(len(maps)):
            level = FusedLevel(i, int(256 * 2**i * self.width), **options, name=f"level{i}")
            levels.append(level(maps, train=train))
        return tuple(levels)


asff = ASFF
