"""MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381, section 4)."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax

from jaxdet.layers import BatchNorm, ConvNorm, DepthwiseNorm, relu6, round_channels

# Table 2: expansion, channels, blocks, stride of the first.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    """Widen by a 1x1 convolution, filter by a depthwise one, narrow by a linear 1x1 (section 3.3).

    `expansion` is the widened channel count over that of the input; at 1 there is no widening.
    `norm` makes the BatchNorms.
    """

    features: int
    stride: int
    expansion: float
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        conv = partial(ConvNorm, norm=self.norm)
        channels, y = x.shape[-1], x
        if self.expansion != 1:
            wide = round(channels * self.expansion)
            y = relu6(conv(wide, name="expand")(y, train=train))
        y = relu6(DepthwiseNorm(self.stride, norm=self.norm, name="depthwise")(y, train=train))
        y = conv(self.features, name="project")(y, train=train)
        return x + y if self.stride == 1 and channels == self.features else y


class MobileNetV2(nn.Module):
    """Returns the last map of stride 16 (96 channels) and the last before the classifier (1280).

    `width` multiplies the channel counts, rounded to multiples of 8; the last 1280 never shrink.
    `norm` makes the BatchNorms.
    """

    width: float = 1.0
    norm: Callable[..., nn.Module] = BatchNorm

    strides = (16, 32)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, ...]:
        conv = partial(ConvNorm, norm=self.norm)
        x = relu6(conv(round_channels(32 * self.width), 3, 2, name="stem")(x, train=train))
        block, stride, maps = 0, 2, {}  # maps: the newest of each stride
        for expansion, channels, count, first_stride in _STAGES:
            for i in range(count):
                block += 1
                step = first_stride if i == 0 else 1
                features = round_channels(channels * self.width)
                x = InvertedResidual(features, step, expansion, self.norm, name=f"block{block}")(
                    x, train=train
                )
                stride *= step
                maps[stride] = x
        last = conv(round(1280 * max(1.0, self.width)), name="last")
        return maps[16], relu6(last(x, train=train))


mobilenet_v2 = MobileNetV2
