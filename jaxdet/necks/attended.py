"""Attention on every map that a head sees, after another neck."""

import flax.linen as nn
import jax

from jaxdet.layers.attention import sam
from jaxdet.layers.blocks import Attention


class Attended(nn.Module):
    """The maps as they are given, each rescaled by an `attention` of its own.

    It follows another neck, as in neck=("extra_convs", dict(name="attended", attention="cbam")).
    """

    attention: Attention = sam

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], *, train: bool) -> tuple[jax.Array, ...]:
        return tuple(self.attention(name=f"level{i}")(x, train=train) for i, x in enumerate(maps))


attended = Attended
