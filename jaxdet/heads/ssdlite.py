"""SSD's head with separable convolutions (Sandler et al. 2018, arXiv:1801.04381, section 6.2)."""

import flax.linen as nn
import jax

from jaxdet.heads.ssd import check_levels, flatten_levels
from jaxdet.layers import BatchNorm, Conv, DepthwiseConv, relu6


class SeparableConv(nn.Module):
    """A 3x3 depthwise convolution with bias, BatchNorm, ReLU6, and a 1x1 convolution with bias."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = DepthwiseConv(use_bias=True, name="depthwise")(x)
        x = relu6(BatchNorm(name="norm")(x, train=train))
        return Conv(self.features, 1, name="pointwise")(x)


class SSDLiteHead(nn.Module):
    """As `SSDHead`, separable on every map but the last, where it is one 1x1 convolution."""

    num_classes: int
    num_anchors: tuple[int, ...]

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], train: bool) -> tuple[jax.Array, jax.Array]:
        check_levels(maps, self.num_anchors)
        boxes, logits = [], []
        for i, (x, count) in enumerate(zip(maps[:-1], self.num_anchors[:-1], strict=True)):
            separable = SeparableConv(count * (self.num_classes + 1), name=f"logits{i}")
            logits.append(separable(x, train=train))
            boxes.append(SeparableConv(count * 4, name=f"boxes{i}")(x, train=train))
        last, x, count = len(maps) - 1, maps[-1], self.num_anchors[-1]
        logits.append(Conv(count * (self.num_classes + 1), 1, name=f"logits{last}")(x))
        boxes.append(Conv(count * 4, 1, name=f"boxes{last}")(x))
        return flatten_levels(boxes, 4), flatten_levels(logits, self.num_classes + 1)


ssdlite = SSDLiteHead
