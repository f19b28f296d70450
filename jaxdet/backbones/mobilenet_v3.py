"""MobileNetV3-Large (Howard et al. 2019, arXiv:1905.02244)."""

from functools import partial

import flax.linen as nn
import jax

from jaxdet.layers.activations import hard_swish, relu
from jaxdet.layers.blocks import Activation, ConvBlock, Norm, maps_at, round_channels
from jaxdet.layers.inverted_residual import SqueezedResidual
from jaxdet.layers.norms import batch_norm

# Table 1: kernel size, expanded channels, channels, squeeze-and-excite, activation, stride.
_BLOCKS = (
    (3, 16, 16, False, relu, 1),
    (3, 64, 24, False, relu, 2),
    (3, 72, 24, False, relu, 1),
    (5, 72, 40, True, relu, 2),
    (5, 120, 40, True, relu, 1),
    (5, 120, 40, True, relu, 1),
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


class MobileNetV3(nn.Module):
    """Maps of strides 2 to 32; by default one of 16, and the last before the classifier's pooling.

    The map of stride 16 is the input of block 13, 112 channels, or with `section_6_3` that block's
    expansion of it, 672; then all later channels are halved, as in the paper for detection. `width`
    multiplies the channel counts, rounded to multiples of 8. `squeeze_first` is for the weights of
    lufficc/SSD and the ImageNet weights it starts from; for those of torchvision and timm it must
    be False. torchvision's SSDLite is `section_6_3=True, squeeze_first=False,
    norm="slow_batch_norm"`. `activation` replaces the paper's two, ReLU and then hard swish.

    `strides=(32, 32)` are the output of block 13, 160 channels, and the last map, 960, as in
    torchvision's Faster R-CNN.
    """

    width: float = 1.0
    section_6_3: bool = False
    squeeze_first: bool = True
    norm: Norm | None = batch_norm
    activation: Activation | None = None
    strides: tuple[int, ...] = (16, 32)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        conv = partial(ConvBlock, norm=self.norm, activation=self.activation or hard_swish)
        x = conv(self._channels(16), 3, 2, name="stem")(x, train=train)
        total, maps = 2, {}  # maps: the last of each stride
        for i, (size, wide, channels, squeeze, activation, stride) in enumerate(_BLOCKS, start=1):
            if self.section_6_3 and i >= _C4:
                channels //= 2
                wide = wide if i == _C4 else wide // 2  # block 13 expands before the halving
            block = SqueezedResidual(
                features=self._channels(channels),
                wide=self._channels(wide),
                size=size,
                stride=stride,
                squeeze=squeeze,
                squeeze_first=self.squeeze_first,
                norm=self.norm,
                activation=self.activation or activation,
                name=f"block{i}",
            )
            widened, x = block(x, train=train)
            if i == _C4 and self.section_6_3:
                maps[total] = widened
            total *= stride
            maps[total] = x
            if i == _C4:
                reaches_32 = x
        maps[32] = conv(6 * x.shape[-1], name="last")(x, train=train)
        if self.strides == (32, 32):
            return reaches_32, maps[32]
        return maps_at(maps, self.strides)

    def _channels(self, count: int) -> int:
        return round_channels(count * self.width)


mobilenet_v3 = MobileNetV3
