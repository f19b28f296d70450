"""SSDLite's coarser maps, as torchvision and mmdetection have them (arXiv:1801.04381, sec. 6.2)."""

from functools import partial

import flax.linen as nn
import jax

from jaxdet.layers import ConvNorm, DepthwiseNorm, relu6, slow_norm


class SeparableDown(nn.Module):
    """Narrow to half of `features`, halve the map by a depthwise convolution, widen; three ReLU6.

    An inverted residual is wide inside and ends without an activation; this is the opposite.
    """

    features: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        conv = partial(ConvNorm, norm=slow_norm)
        x = relu6(conv(self.features // 2, name="narrow")(x, train=train))
        x = relu6(DepthwiseNorm(2, norm=slow_norm, name="depthwise")(x, train=train))
        return relu6(conv(self.features, name="widen")(x, train=train))


class SSDLiteExtras(nn.Module):
    """The maps of the backbone, and four more, each half the size of the one before."""

    width: float = 1.0

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], train: bool) -> tuple[jax.Array, ...]:
        levels = list(maps)
        for i, channels in enumerate((512, 256, 256, 128), start=1):
            down = SeparableDown(int(channels * self.width), name=f"down{i}")
            levels.append(down(levels[-1], train=train))
        return tuple(levels)


ssdlite_extras = SSDLiteExtras
