"""Feature pyramid networks (Lin et al. 2017, arXiv:1612.03144, section 3)."""

from functools import partial

import flax.linen as nn
import jax
import numpy as np

from jaxdet.layers.activations import relu
from jaxdet.layers.blocks import ConvBlock, Norm

_EXTRAS = ("none", "pool", "p6p7_of_c5", "p6p7_of_p5")

# As in torchvision, which draws uniformly.
_init = nn.initializers.variance_scaling(1.0, "fan_in", "uniform")


class FPN(nn.Module):
    """A map of `channels` for every map of the backbone, and perhaps coarser ones.

    Every map goes through a 1x1 convolution; the sum so far, of the next coarser map, is resized to
    it and added, and a 3x3 convolution gives the output. There is no activation. `extra` is "none",
    "pool" for one more map, every second pixel of the coarsest output (Faster R-CNN), or two more
    by 3x3 convolutions at stride 2, the second after a ReLU (RetinaNet, arXiv:1708.02002, footnote
    2): from the coarsest input, "p6p7_of_c5", or output, "p6p7_of_p5". With a `norm`, the other
    convolutions have that instead of a bias. ValueError for another `extra`.
    """

    channels: int = 256
    extra: str = "none"
    norm: Norm | None = None

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], *, train: bool) -> tuple[jax.Array, ...]:
        if self.extra not in _EXTRAS:
            raise ValueError(f"extra is {self.extra!r}, expected one of {', '.join(_EXTRAS)}")
        conv = partial(ConvBlock, self.channels, norm=self.norm, kernel_init=_init)
        levels, coarse = [], None
        for i, x in reversed(list(enumerate(maps))):
            x = conv(name=f"lateral{i}")(x, train=train)
            coarse = x if coarse is None else x + resize_nearest(coarse, x.shape[1:3])
            levels.append(conv(size=3, name=f"out{i}")(coarse, train=train))
        levels.reverse()
        if self.extra == "pool":
            levels.append(levels[-1][:, ::2, ::2])
        elif self.extra != "none":
            down = partial(conv, size=3, stride=2, norm=None)
            source = maps[-1] if self.extra == "p6p7_of_c5" else levels[-1]
            levels.append(down(name="p6")(source, train=train))
            levels.append(down(name="p7")(relu(levels[-1]), train=train))
        return tuple(levels)


def resize_nearest(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """x [B, H, W, C] with the rows and columns of `size`: pixel i shows pixel floor(i H / rows)."""
    for axis, side in zip((1, 2), size, strict=True):
        times = -(-side // x.shape[axis])
        if times * x.shape[axis] - side <= 1:  # between maps of one pyramid; differentiates fast
            x = jax.lax.slice_in_dim(x.repeat(times, axis), 0, side, axis=axis)
        else:
            x = x.take(np.arange(side) * x.shape[axis] // side, axis)
    return x


fpn = FPN
