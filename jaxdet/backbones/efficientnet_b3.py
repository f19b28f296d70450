"""EfficientNet (Tan and Le 2019, arXiv:1905.11946): the family, and B3 of it."""

import math
from functools import partial

import flax.linen as nn
import jax

from jaxdet.layers import BatchNorm, ConvNorm, DepthwiseNorm, SqueezeExcite, round_channels

# Table 1: expansion, channels, blocks, stride of the first, kernel side.
_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)

# The authors' code; the weights were trained in TensorFlow, hence SAME padding.
_norm = partial(BatchNorm, momentum=0.99, epsilon=1e-3)
_ConvNorm = partial(ConvNorm, padding="SAME", norm=_norm)
_DepthwiseNorm = partial(DepthwiseNorm, padding="SAME", norm=_norm)


class MBConv(nn.Module):
    """Widen, filter, squeeze and excite, narrow (Tan et al. 2018, arXiv:1807.11626, figure 7).

    `drop` is the probability that a picture goes round the block, where it can. The squeezed width
    is a quarter of the block's input, not of the widened map.
    """

    features: int
    stride: int
    expansion: int
    size: int
    drop: float

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        channels, y = x.shape[-1], x
        if self.expansion != 1:
            y = nn.swish(_ConvNorm(channels * self.expansion, name="expand")(y, train=train))
        y = nn.swish(_DepthwiseNorm(self.stride, self.size, name="depthwise")(y, train=train))
        squeeze = SqueezeExcite(max(1, channels // 4), nn.swish, nn.sigmoid, name="squeeze")
        y = _ConvNorm(self.features, name="project")(squeeze(y), train=train)
        if self.stride != 1 or channels != self.features:
            return y
        whole_pictures = nn.Dropout(self.drop, broadcast_dims=(1, 2, 3))
        return x + whole_pictures(y, deterministic=not train)


class EfficientNet(nn.Module):
    """Returns the last maps of strides 8, 16 and 32, without the classifier's last convolution.

    `width` multiplies the channel counts, `depth` the blocks of every stage (section 3.3).
    `drop_connect` is the probability to skip a block, rising from 0 at the first to nearly this at
    the last (stochastic depth, Huang et al. 2016, arXiv:1603.09382); it draws from "dropout".
    """

    width: float
    depth: float
    drop_connect: float = 0.2

    strides = (8, 16, 32)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, ...]:
        x = nn.swish(_ConvNorm(round_channels(32 * self.width), 3, 2, name="stem")(x, train=train))
        counts = [math.ceil(count * self.depth) for _, _, count, _, _ in _STAGES]
        block, stride, maps = 0, 2, {}  # maps: the newest of each stride
        for count, (expansion, channels, _, first_stride, size) in zip(
            counts, _STAGES, strict=True
        ):
            for i in range(count):
                step = first_stride if i == 0 else 1
                drop = self.drop_connect * block / sum(counts)
                features = round_channels(channels * self.width)
                block += 1
                layer = MBConv(features, step, expansion, size, drop, name=f"block{block}")
                x = layer(x, train=train)
                stride *= step
                maps[stride] = x
        return tuple(maps[stride] for stride in self.strides)


efficientnet_b3 = partial(EfficientNet, width=1.2, depth=1.4)
