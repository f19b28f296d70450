"""VGG16 up to its fifth pooling, as it was trained (Simonyan and Zisserman 2014, arXiv:1409.1556).

That is what torchvision calls its features; `vgg16` is the variant that SSD makes of all of it.
"""

import flax.linen as nn
import jax

from jaxdet.layers import Conv, ConvNorm, he_fan_in
from jaxdet.pool import max_pool

_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions; table 1, D


class VGGFeatures(nn.Module):
    """Returns conv4_3, conv5_3 and pool5, strides 8, 16 and 32, all of 512 channels.

    With `batch_norm` every convolution has a BatchNorm instead of a bias: from random weights it
    trains far sooner, but ImageNet's do not fit. `width` multiplies the channel counts.
    """

    batch_norm: bool = False
    width: float = 1.0

    strides = (8, 16, 32)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, ...]:
        maps = []
        for block, (channels, count) in enumerate(_BLOCKS, start=1):
            for i in range(1, count + 1):
                features, name = int(channels * self.width), f"conv{block}_{i}"
                if self.batch_norm:
                    x = nn.relu(ConvNorm(features, 3, name=name)(x, train=train))
                else:
                    x = nn.relu(Conv(features, kernel_init=he_fan_in, name=name)(x))
            maps.append(x)
            x = max_pool(x, 2, stride=2)
        return maps[3], maps[4], x


vgg16_features = VGGFeatures
