"""MobileNetV3-Large (Howard et al. 2019, arXiv:1905.02244)."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax

from jaxdet.layers import (
    BatchNorm,
    ConvNorm,
    DepthwiseNorm,
    SqueezeExcite,
    hard_swish,
    round_channels,
)

# Table 1: kernel side, widened channels, channels, squeeze and excite, activation, stride.
_BLOCKS = (
    (3, 16, 16, False, nn.relu, 1),
    (3, 64, 24, False, nn.relu, 2),
    (3, 72, 24, False, nn.relu, 1),
    (5, 72, 40, True, nn.relu, 2),
    (5, 120, 40, True, nn.relu, 1),
    (5, 120, 40, True, nn.relu, 1),
    (3, 240, 80, False, hard_swish, 2),
    (3, 200, 80, False, hard_swish, 1),
    (3, 184, 80, False, hard_swish, 1),
    (3, 184, 80, False, hard_swish, 1),
    (3, 480, 112, True, hard_swish, 1),
    (3, 672, 112, True, hard_swish, 1),
    (5, 672, 160, True, hard_swish, 2),
    (5, 960, 160, True, hard_swish, 1),
    (5, 960, 160, True, hard_swish, 1),
)
_C4 = 13  # the block that goes from stride 16 to 32


class Bottleneck(nn.Module):
    """Widen, filter, squeeze and excite, narrow (figure 4); returns the widened map and the output.

    `wide` counts the channels in between; where the input has as many, it is not widened.
    `squeeze_first` puts squeeze and excite before the activation. `norm` makes the BatchNorms.
    """

    features: int
    wide: int
    size: int
    stride: int
    squeeze: bool
    activation: Callable[[jax.Array], jax.Array]
    squeeze_first: bool
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        conv, wide = partial(ConvNorm, norm=self.norm), x
        if self.wide != x.shape[-1]:
            wide = self.activation(conv(self.wide, name="expand")(x, train=train))
        depthwise = DepthwiseNorm(self.stride, self.size, norm=self.norm, name="depthwise")
        y = self._excite(depthwise(wide, train=train))
        y = conv(self.features, name="project")(y, train=train)
        return wide, x + y if self.stride == 1 and x.shape == y.shape else y

    def _excite(self, y: jax.Array) -> jax.Array:
        if not self.squeeze:
            return self.activation(y)
        squeeze = SqueezeExcite(round_channels(self.wide // 4), name="squeeze")
        return self.activation(squeeze(y)) if self.squeeze_first else squeeze(self.activation(y))


class MobileNetV3(nn.Module):
    """Returns a map of stride 16, and the last before the classifier's pooling (stride 32).

    The first is what goes into block 13, 112 channels, or with `section_6_3` what that block
    widens it to, 672; then all channels after it are halved, as the paper does for detection.
    `width` multiplies the channel counts, rounded to multiples of 8. `squeeze_first` and `norm` as
    in `Bottleneck`: lufficc/SSD, and the ImageNet weights it begins from, squeeze first; those of
    torchvision and timm do not.
    """

    width: float = 1.0
    section_6_3: bool = False
    squeeze_first: bool = True
    norm: Callable[..., nn.Module] = BatchNorm

    strides = (16, 32)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, ...]:
        conv = partial(ConvNorm, norm=self.norm)
        x = hard_swish(conv(self._channels(16), 3, 2, name="stem")(x, train=train))
        for i, (size, wide, channels, squeeze, activation, stride) in enumerate(_BLOCKS, start=1):
            if self.section_6_3 and i >= _C4:
                channels //= 2
                wide = wide if i == _C4 else wide // 2  # block 13 widens before the halving
            block = Bottleneck(
                features=self._channels(channels),
                wide=self._channels(wide),
                size=size,
                stride=stride,
                squeeze=squeeze,
                activation=activation,
                squeeze_first=self.squeeze_first,
                norm=self.norm,
                name=f"block{i}",
            )
            before, (widened, x) = x, block(x, train=train)
            if i == _C4:
                first = widened if self.section_6_3 else before
        return first, hard_swish(conv(6 * x.shape[-1], name="last")(x, train=train))

    def _channels(self, count: int) -> int:
        return round_channels(count * self.width)


mobilenet_v3 = MobileNetV3
