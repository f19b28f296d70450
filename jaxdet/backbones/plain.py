"""A small backbone to learn and test with: five convolutions, each of which halves the map."""

import flax.linen as nn
import jax

from jaxdet.layers import ConvNorm


class Plain(nn.Module):
    """3x3 convolutions of stride 2 with BatchNorm and ReLU; the last three maps are returned.

    Below the first map (stride 8) every stage has a second convolution of stride 1.
    """

    channels: tuple[int, ...] = (16, 32, 64, 96, 128)

    strides = (8, 16, 32)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, ...]:
        maps = []
        for i, channels in enumerate(self.channels, start=1):
            x = nn.relu(ConvNorm(channels, 3, 2, name=f"down{i}")(x, train=train))
            if i >= 2:
                x = nn.relu(ConvNorm(channels, 3, name=f"conv{i}")(x, train=train))
            maps.append(x)
        return tuple(maps[-3:])


plain = Plain
