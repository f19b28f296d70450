"""SSDLite's head as torchvision and mmdetection have it: separable on every map, the last too."""

import flax.linen as nn
import jax

from jaxdet.heads.ssd import check_levels, flatten_levels
from jaxdet.layers import Conv, DepthwiseNorm, relu6, slow_norm


class SeparableConv(nn.Module):
    """A 3x3 depthwise convolution, BatchNorm, ReLU6, and a 1x1 convolution with bias."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = relu6(DepthwiseNorm(norm=slow_norm, name="depthwise")(x, train=train))
        return Conv(self.features, 1, name="pointwise")(x)


class SSDLiteSeparableHead(nn.Module):
    """As `SSDHead`, with separable convolutions (arXiv:1801.04381, section 6.2)."""

    num_classes: int
    num_anchors: tuple[int, ...]

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], train: bool) -> tuple[jax.Array, jax.Array]:
        check_levels(maps, self.num_anchors)
        boxes, logits = [], []
        for i, (x, count) in enumerate(zip(maps, self.num_anchors, strict=True)):
            classify = SeparableConv(count * (self.num_classes + 1), name=f"logits{i}")
            logits.append(classify(x, train=train))
            boxes.append(SeparableConv(count * 4, name=f"boxes{i}")(x, train=train))
        return flatten_levels(boxes, 4), flatten_levels(logits, self.num_classes + 1)


ssdlite_separable = SSDLiteSeparableHead
