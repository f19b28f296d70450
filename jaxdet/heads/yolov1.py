"""YOLO's head: several boxes per cell, but one set of classes (arXiv:1506.02640, section 2)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdet.heads.ssd import check_levels, flatten_levels
from jaxdet.heads.yolov2 import Prediction


class YOLOv1Head(nn.Module):
    """Box codes [B, A, 4], logits [B, A, K] and objectness [B, A] of the boxes of all cells.

    Boxes are in the order row, column, box of the cell; those of a cell have the same logits.
    `num_anchors` has the number of boxes per cell, for one map; `fully_connected` as in
    `Prediction` (the paper has 4096). The outputs are positions and probabilities themselves, so
    they start near zero: from larger values the first steps would only shrink them.
    """

    num_classes: int
    num_anchors: tuple[int, ...]
    fully_connected: int = 0

    @nn.compact
    def __call__(
        self, maps: tuple[jax.Array, ...], *, train: bool
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        check_levels(maps, self.num_anchors)
        levels, classes = [], []
        for i, (x, count) in enumerate(zip(maps, self.num_anchors, strict=True)):
            outputs = count * 5 + self.num_classes
            small = nn.initializers.normal(0.01)
            predict = Prediction(outputs, self.fully_connected, small, name=f"level{i}")
            x = predict(x, train=train)
            levels.append(x[..., : count * 5])
            classes.append(jnp.tile(x[..., count * 5 :], count))
        boxes, objectness = jnp.split(flatten_levels(levels, 5), (4,), axis=-1)
        return boxes, flatten_levels(classes, self.num_classes), objectness[..., 0]


yolov1 = YOLOv1Head
