"""YOLOv2's head: box, objectness and classes for every anchor (arXiv:1612.08242, section 2)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdet.heads.ssd import check_levels, class_bias, flatten_levels
from jaxdet.layers.activations import leaky_relu
from jaxdet.layers.blocks import Activation, Conv, Initializer, pieces_of, xavier_uniform


class Prediction(nn.Module):
    """Predicts `outputs` numbers for every cell of a map, with a 1x1 convolution.

    With `fully_connected` it uses YOLO's two fully connected layers instead, with that many units
    between them and dropout of one half (arXiv:1506.02640, sections 2.1 and 2.2): every cell sees
    the whole map, and only maps of one size fit. `kernel_init` and `bias_init` are for the last
    layer.
    """

    outputs: int
    fully_connected: int = 0
    kernel_init: Initializer = xavier_uniform
    bias_init: Initializer = nn.initializers.zeros
    activation: Activation = leaky_relu

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        last = dict(kernel_init=self.kernel_init, bias_init=self.bias_init)
        if not self.fully_connected:
            return Conv(self.outputs, 1, **last, name="conv")(x)
        batch, rows, columns, _ = x.shape
        units = self.fully_connected * pieces_of(self.activation)
        hidden = Conv(units, 1, name="hidden")(x.reshape(batch, 1, 1, -1))
        hidden = nn.Dropout(0.5)(self.activation(hidden), deterministic=not train)
        outputs = rows * columns * self.outputs
        out = Conv(outputs, 1, **last, name="out")(hidden)
        return out.reshape(batch, rows, columns, self.outputs)


class YOLOHead(nn.Module):
    """Box codes [B, A, 4], logits [B, A, K] and objectness [B, A] of the anchors of all maps.

    Anchors are in the order level, row, column, anchor of the cell. The outputs of a cell are box,
    objectness and classes, anchor by anchor, as in Darknet. `num_anchors` has the number of anchors
    per cell for every level; `fully_connected` as in `Prediction`, `initial_probability` is that of
    every class, see `class_bias`.
    """

    num_classes: int
    num_anchors: tuple[int, ...]
    fully_connected: int = 0
    initial_probability: float = 0.0

    @nn.compact
    def __call__(
        self, maps: tuple[jax.Array, ...], *, train: bool
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        check_levels(maps, self.num_anchors)
        fields = 5 + self.num_classes
        bias = class_bias(self.initial_probability, self.num_classes, before=5)
        options = dict(fully_connected=self.fully_connected, bias_init=bias)
        levels = [
            Prediction(count * fields, **options, name=f"level{i}")(x, train=train)
            for i, (x, count) in enumerate(zip(maps, self.num_anchors, strict=True))
        ]
        boxes, objectness, logits = jnp.split(flatten_levels(levels, fields), (4, 5), axis=-1)
        return boxes, logits, objectness[..., 0]


yolov2 = YOLOHead
