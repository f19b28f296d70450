"""YOLOv4-tiny's backbone (github.com/AlexeyAB/darknet, cfg/yolov4-tiny.cfg; arXiv:2011.08036)."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdet.layers.activations import leaky_relu
from jaxdet.layers.blocks import Activation, ConvBlock, Norm, he_fan_in, maps_at
from jaxdet.layers.norms import batch_norm
from jaxdet.layers.pool import max_pool


class TinyCSPStage(nn.Module):
    """A 3x3 convolution, two more on the second half of its channels, and a 1x1 on these two.

    Returns the 1x1 convolution's map [B, H, W, C], and the first and the last joined,
    [B, H, W, 2 C], as they were.
    """

    norm: Norm | None = batch_norm
    activation: Activation = leaky_relu

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        options = dict(norm=self.norm, activation=self.activation, kernel_init=he_fan_in)
        conv, channels = partial(ConvBlock, **options), x.shape[-1]
        whole = conv(channels, 3, name="conv1")(x, train=train)
        second = conv(channels // 2, 3, name="conv2")(whole[..., channels // 2 :], train=train)
        third = conv(channels // 2, 3, name="conv3")(second, train=train)
        joined = jnp.concatenate([third, second], axis=-1)
        merged = conv(channels, name="merge")(joined, train=train)
        return merged, jnp.concatenate([whole, merged], axis=-1)


class CSPDarknet53Tiny(nn.Module):
    """Maps of strides 2 to 32; by default 16 and 32, with 256 and 512 channels.

    `width` multiplies the channel counts.
    """

    width: float = 1.0
    norm: Norm | None = batch_norm
    activation: Activation = leaky_relu
    strides: tuple[int, ...] = (16, 32)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        options = dict(norm=self.norm, activation=self.activation)
        conv = partial(ConvBlock, **options, kernel_init=he_fan_in)
        channels, maps = int(32 * self.width), {}
        maps[2] = x = conv(channels, 3, 2, name="stem")(x, train=train)
        x = conv(2 * channels, 3, 2, name="down")(x, train=train)
        for stage in range(1, 4):
            each = TinyCSPStage(**options, name=f"stage{stage}")
            maps[2 ** (stage + 1)], x = each(x, train=train)
            x = max_pool(x, 2, stride=2)
        maps[32] = conv(x.shape[-1], 3, name="last")(x, train=train)
        return maps_at(maps, self.strides)


cspdarknet53_tiny = CSPDarknet53Tiny
