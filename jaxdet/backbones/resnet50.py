"""ResNet-50 (He et al. 2015, arXiv:1512.03385, table 1), its variants, and Res2Net's block."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdet.layers.activations import identity, relu
from jaxdet.layers.blocks import Activation, ConvBlock, Norm, maps_at, pieces_of
from jaxdet.layers.norms import batch_norm
from jaxdet.layers.pool import average_pool, max_pool


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, the last to 4 x `features`, and a shortcut (figure 5).

    The stride is in the 3x3 convolution, as in torchvision's weights; the paper's is in the first.
    The other fields are as in `ResNet`; `first` is for the first block of a stage, whose shortcut
    is a convolution.
    """

    features: int
    stride: int
    first: bool
    scales: int = 1
    base_width: int = 64
    pool_at_stride_1: bool = True
    average_shortcut: bool = False
    norm: Norm | None = batch_norm
    activation: Activation = relu

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        conv = partial(ConvBlock, norm=self.norm, activation=self.activation)
        part = self.features * self.base_width // 64
        y = conv(part * self.scales, name="conv1")(x, train=train)
        if self.scales == 1:
            y = conv(part, 3, self.stride, name="conv2")(y, train=train)
        else:
            y = self._split(y, conv, train=train)
        linear = partial(conv, 4 * self.features * pieces_of(self.activation), activation=identity)
        y = linear(name="conv3")(y, train=train)
        if self.first or x.shape != y.shape:
            stride = self.stride
            if self.average_shortcut:
                x, stride = average_pool(x, stride, stride=stride, round_up=True), 1
            x = linear(stride=stride, name="shortcut")(x, train=train)
        return self.activation(x + y)

    def _split(self, x: jax.Array, conv: partial, *, train: bool) -> jax.Array:
        """3x3 convolutions of `scales` parts, each also seeing the one before; not of the last."""
        *parts, last = jnp.split(x, self.scales, axis=-1)
        results = []
        for i, part in enumerate(parts, start=1):
            if results and not self.first:
                part = part + results[-1]
            block = conv(part.shape[-1], 3, self.stride, name=f"conv2_{i}")
            results.append(block(part, train=train))
        if self.first and (self.stride > 1 or self.pool_at_stride_1):
            last = average_pool(last, 3, stride=self.stride, padding=1)
        return jnp.concatenate([*results, last], axis=-1)


class ResNet(nn.Module):
    """Maps of strides 4 to 32; by default 8, 16 and 32: 512, 1024 and 2048 channels.

    `blocks` has the number of blocks per stage; `width` multiplies the channel counts.

    With `scales` above 1 the blocks are Res2Net's (Gao et al. 2019, arXiv:1904.01169, section 3.1),
    where the middle convolution is a hierarchy of so many parts, each `base_width` channels wide in
    the first stage. In the first block of a stage the last part is pooled, in the first stage at
    stride 1, which mmdetection omits: `pool_at_stride_1=False`.

    `deep_stem` replaces the 7x7 convolution by three 3x3 ones, and with `average_shortcut` the mean
    of 2x2 pixels precedes a strided shortcut (He et al. 2018, arXiv:1812.01187, figure 2).
    """

    blocks: tuple[int, ...]
    width: float = 1.0
    scales: int = 1
    base_width: int = 64
    pool_at_stride_1: bool = True
    deep_stem: bool = False
    average_shortcut: bool = False
    norm: Norm | None = batch_norm
    activation: Activation = relu
    strides: tuple[int, ...] = (8, 16, 32)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        options = dict(norm=self.norm, activation=self.activation, scales=self.scales)
        options |= dict(base_width=self.base_width, pool_at_stride_1=self.pool_at_stride_1)
        options |= dict(average_shortcut=self.average_shortcut)
        channels, maps = int(64 * self.width), {}
        x = max_pool(self._stem(x, channels, train=train), 3, stride=2, padding=1)
        for stage, count in enumerate(self.blocks, start=1):
            for i in range(1, count + 1):
                stride = 2 if i == 1 and stage > 1 else 1
                block = Bottleneck(channels, stride, i == 1, **options, name=f"block{stage}_{i}")
                x = block(x, train=train)
            channels *= 2
            maps[2 ** (stage + 1)] = x
        return maps_at(maps, self.strides)

    def _stem(self, x: jax.Array, channels: int, *, train: bool) -> jax.Array:
        conv = partial(ConvBlock, norm=self.norm, activation=self.activation)
        if not self.deep_stem:
            return conv(channels, 7, 2, name="stem")(x, train=train)
        x = conv(channels // 2, 3, 2, name="stem1")(x, train=train)
        x = conv(channels // 2, 3, name="stem2")(x, train=train)
        return conv(channels, 3, name="stem3")(x, train=train)


resnet50 = partial(ResNet, blocks=(3, 4, 6, 3))
