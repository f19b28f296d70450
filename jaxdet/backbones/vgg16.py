"""VGG16 with fully convolutional fc6 and fc7 (Simonyan and Zisserman 2014; SSD, section 3)."""

from functools import partial

import flax.linen as nn
import jax

from jaxdet.layers import Conv, he_fan_in


class VGG(nn.Module):
    """The VGG that SSD builds on: pool5 is 3x3 at stride 1, and fc6 is dilated by 6 to make up.

    Returns conv4_3 (stride 8) and fc7 (stride 16), both after their ReLU. `convs` counts the
    convolutions of the five blocks; `width` multiplies all channel counts. Meant to be trained
    from ImageNet weights; without them, He's initialisation is what lets it train at all.
    """

    convs: tuple[int, ...]
    width: float = 1.0

    strides = (8, 16)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, ...]:
        conv = lambda channels, *args, **kwargs: Conv(
            int(channels * self.width), *args, kernel_init=he_fan_in, **kwargs
        )
        maps = []
        for block, channels in enumerate((64, 128, 256, 512, 512), start=1):
            for i in range(1, self.convs[block - 1] + 1):
                x = nn.relu(conv(channels, name=f"conv{block}_{i}")(x))
            maps.append(x)
            if block < 5:
                x = _halve(x, round_up=block == 3)
        x = nn.max_pool(x, (3, 3), (1, 1), ((1, 1), (1, 1)))
        x = nn.relu(conv(1024, dilation=6, name="fc6")(x))
        x = nn.relu(conv(1024, 1, name="fc7")(x))
        return maps[3], x


def _halve(x: jax.Array, *, round_up: bool) -> jax.Array:
    """2x2 max pooling; an odd side rounds down, or up (75 to 38, as SSD300 needs at pool3)."""
    more = [(0, side % 2 if round_up else 0) for side in x.shape[1:3]]
    return nn.max_pool(x, (2, 2), (2, 2), more)


vgg16 = partial(VGG, convs=(2, 2, 3, 3, 3))
