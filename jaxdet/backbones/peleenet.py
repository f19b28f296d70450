"""PeleeNet (Wang et al. 2018, arXiv:1804.06882, section 2)."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdet.layers.activations import relu
from jaxdet.layers.blocks import Activation, ConvBlock, Norm, maps_at
from jaxdet.layers.norms import batch_norm
from jaxdet.layers.pool import average_pool, max_pool

# Of every stage: dense layers, and how many times wider than a branch its 1x1 convolutions are.
STAGES = ((3, 1), (4, 2), (8, 4), (6, 4))


class TwoWayDense(nn.Module):
    """The input and, joined after it, two branches with fields of 3x3 and 5x5.

    `narrow` is the number of channels of the 1x1 convolutions, `growth` of each branch's output.
    """

    narrow: int
    growth: int
    norm: Norm | None = batch_norm
    activation: Activation = relu

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        def conv(x, features, size, name):
            options = dict(norm=self.norm, activation=self.activation, name=name)
            return ConvBlock(features, size, **options)(x, train=train)

        near = conv(conv(x, self.narrow, 1, "branch1a"), self.growth, 3, "branch1b")
        far = conv(conv(x, self.narrow, 1, "branch2a"), self.growth, 3, "branch2b")
        return jnp.concatenate([x, near, conv(far, self.growth, 3, "branch2c")], axis=-1)


class PeleeNet(nn.Module):
    """Maps of strides 4 to 32, 128, 256, 512 and 704 channels; by default those of 16 and 32.

    A map is a stage after its transition, before its pool. `width` multiplies the channel counts.
    `round_up` keeps the last row and column of an odd map when pooling, as Caffe does: 304 pixels
    then give 19 and 10 cells, else 19 and 9. The authors' Caffe models have that and an epsilon of
    1e-3 in the norms, their PyTorch classifier does not.
    """

    width: float = 1.0
    round_up: bool = False
    norm: Norm | None = batch_norm
    activation: Activation = relu
    strides: tuple[int, ...] = (16, 32)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        options = dict(norm=self.norm, activation=self.activation)
        growth, maps = int(16 * self.width), {}
        x = self._stem(x, 2 * growth, train=train)
        for stage, (count, factor) in enumerate(STAGES, start=1):
            if stage > 1:
                x = average_pool(x, 2, stride=2, round_up=self.round_up)
            for i in range(1, count + 1):
                dense = TwoWayDense(growth * factor, growth, **options, name=f"dense{stage}_{i}")
                x = dense(x, train=train)
            x = ConvBlock(x.shape[-1], **options, name=f"transition{stage}")(x, train=train)
            maps[2 ** (stage + 1)] = x
        return maps_at(maps, self.strides)

    def _stem(self, x: jax.Array, channels: int, *, train: bool) -> jax.Array:
        """Two ways from stride 2 to stride 4, joined."""
        conv = partial(ConvBlock, norm=self.norm, activation=self.activation)
        x = conv(channels, 3, 2, name="stem1")(x, train=train)
        y = conv(channels // 2, name="stem2a")(x, train=train)
        y = conv(channels, 3, 2, name="stem2b")(y, train=train)
        pooled = max_pool(x, 2, stride=2, round_up=self.round_up)
        return conv(channels, name="stem3")(jnp.concatenate([pooled, y], axis=-1), train=train)


peleenet = PeleeNet
