"""YOLOv3-tiny's backbone (github.com/pjreddie/darknet, cfg/yolov3-tiny.cfg)."""

import flax.linen as nn
import jax

from jaxdet.layers.activations import leaky_relu
from jaxdet.layers.blocks import Activation, ConvBlock, Norm, he_fan_in, maps_at
from jaxdet.layers.norms import batch_norm
from jaxdet.layers.pool import max_pool


class DarknetTiny(nn.Module):
    """Maps of strides 1 to 32; by default 16 and 32, with 256 and 1024 channels.

    Seven 3x3 convolutions with pools between them. The last pool has stride 1 and looks to the
    right and down, so that the map keeps its size. `width` multiplies the channel counts.
    """

    width: float = 1.0
    norm: Norm | None = batch_norm
    activation: Activation = leaky_relu
    strides: tuple[int, ...] = (16, 32)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        options = dict(norm=self.norm, activation=self.activation, kernel_init=he_fan_in)
        channels, maps = int(16 * self.width), {}
        for i in range(1, 8):
            if 1 < i < 7:
                x = max_pool(x, 2, stride=2)
            elif i == 7:
                x = max_pool(x, 2, stride=1, padding=(0, 1))
            x = ConvBlock(channels, 3, **options, name=f"conv{i}")(x, train=train)
            maps[2 ** min(i - 1, 5)] = x
            channels *= 2
        return maps_at(maps, self.strides)


darknet_tiny = DarknetTiny
