"""Coarser maps by plain strided convolutions (the extra feature layers of SSD, section 2.1)."""

import flax.linen as nn
import jax

from jaxdet.layers import ConvNorm


class ExtraConvs(nn.Module):
    """The maps of the backbone, and one more, half the size of the last, per channel count."""

    channels: tuple[int, ...]

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], train: bool) -> tuple[jax.Array, ...]:
        levels = list(maps)
        for i, channels in enumerate(self.channels, start=1):
            down = ConvNorm(channels, 3, 2, name=f"down{i}")
            levels.append(nn.relu(down(levels[-1], train=train)))
        return tuple(levels)


extra_convs = ExtraConvs
