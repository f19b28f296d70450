"""YOLOX's decoupled head (Ge et al. 2021, arXiv:2107.08430, section 2.1 and figure 2)."""

from functools import partial

import flax.linen as nn
import jax

from jaxdet.heads.ssd import check_levels, class_bias, flatten_levels
from jaxdet.layers.activations import swish
from jaxdet.layers.blocks import Activation, Conv, Norm
from jaxdet.layers.csp import conv_blocks, uniform_fan_in
from jaxdet.layers.norms import slow_batch_norm


class YOLOXHead(nn.Module):
    """Box codes [B, A, 4], logits [B, A, K] and objectness [B, A] of the anchors of all maps.

    Every map has layers of its own: `stem{i}`, 1x1 to 256 channels times `width`; on it two 3x3
    convolutions for the classes, `logits_conv{i}_1` and `_2`, and two for the boxes; and 1x1
    convolutions that predict, the objectness from what the boxes are predicted from. With
    `depthwise`, as in YOLOX-Nano, the 3x3 convolutions are separable. Anchors are in the order
    level, row, column, anchor of the cell; `num_anchors` has their number per cell for every level.
    `initial_probability` is that of every class, and of an object, see `class_bias`.
    """

    num_classes: int
    num_anchors: tuple[int, ...]
    width: float = 1.0
    depthwise: bool = False
    norm: Norm | None = slow_batch_norm
    activation: Activation = swish
    initial_probability: float = 0.01

    @nn.compact
    def __call__(
        self, maps: tuple[jax.Array, ...], *, train: bool
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        check_levels(maps, self.num_anchors)
        conv, spatial = conv_blocks(self.norm, self.activation, depthwise=self.depthwise)
        features = int(256 * self.width)
        predict = partial(Conv, size=1, kernel_init=uniform_fan_in)
        bias = partial(class_bias, self.initial_probability, before=0)
        boxes, logits, objectness = [], [], []
        for i, (x, count) in enumerate(zip(maps, self.num_anchors, strict=True)):
            x = of_boxes = of_classes = conv(features, name=f"stem{i}")(x, train=train)
            for j in (1, 2):
                layer = spatial(features, 3, name=f"logits_conv{i}_{j}")
                of_classes = layer(of_classes, train=train)
                layer = spatial(features, 3, name=f"boxes_conv{i}_{j}")
                of_boxes = layer(of_boxes, train=train)
            classes = self.num_classes
            layer = predict(classes * count, bias_init=bias(classes), name=f"logits{i}")
            logits.append(layer(of_classes))
            boxes.append(predict(4 * count, name=f"boxes{i}")(of_boxes))
            layer = predict(count, bias_init=bias(1), name=f"objectness{i}")
            objectness.append(layer(of_boxes))
        codes, scores = flatten_levels(boxes, 4), flatten_levels(logits, self.num_classes)
        return codes, scores, flatten_levels(objectness, 1)[..., 0]


yolox = YOLOXHead
