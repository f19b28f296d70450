"""VGG16 with fully convolutional fc6 and fc7 (Simonyan and Zisserman 2014; SSD, section 3)."""

from functools import partial

import flax.linen as nn
import jax

from jaxdet.layers.activations import relu
from jaxdet.layers.blocks import Activation, Conv, he_fan_in, maps_at, pieces_of
from jaxdet.layers.pool import max_pool


class VGG(nn.Module):
    """The VGG that SSD builds on: pool5 is 3x3 at stride 1, and fc6 is dilated by 6 to compensate.

    Maps of strides 1 to 16; by default conv4_3 (stride 8) and fc7 (stride 16), both after their
    ReLU. `convs` is the number of convolutions in each of the five blocks; `width` multiplies all
    channel counts. It is meant to start from ImageNet weights; without them, only He's
    initialisation lets it train at all.
    """

    convs: tuple[int, ...]
    width: float = 1.0
    activation: Activation = relu
    strides: tuple[int, ...] = (8, 16)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        def conv(x, channels, *args, **kwargs):
            features = int(channels * self.width) * pieces_of(self.activation)
            layer = Conv(features, *args, kernel_init=he_fan_in, **kwargs)
            return self.activation(layer(x))

        maps = {}
        for block, channels in enumerate((64, 128, 256, 512, 512), start=1):
            for i in range(1, self.convs[block - 1] + 1):
                x = conv(x, channels, name=f"conv{block}_{i}")
            maps[2 ** (block - 1)] = x
            if block < 5:
                x = max_pool(x, 2, stride=2, round_up=block == 3)  # pool3: 75 to 38
        x = max_pool(x, 3, stride=1, padding=1)
        x = conv(x, 1024, dilation=6, name="fc6")
        maps[16] = conv(x, 1024, 1, name="fc7")
        return maps_at(maps, self.strides)


vgg16 = partial(VGG, convs=(2, 2, 3, 3, 3))
