"""RetinaNet's head (Lin et al. 2017, arXiv:1708.02002, section 4 and figure 3)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdet.heads.rpn import conv_tower, small, through
from jaxdet.heads.ssd import class_bias, flatten_levels, same_count
from jaxdet.layers.activations import relu
from jaxdet.layers.blocks import Activation, Conv


class RetinaNetHead(nn.Module):
    """Box codes [B, A, 4] and logits [B, A, K + 1] of the anchors of all maps.

    Two towers of four 3x3 convolutions, as wide as the maps, each with one more 3x3 convolution
    that predicts; all maps have the same layers. Every class has a sigmoid of its own, so nothing
    predicts the background: logit 0, which is there as in `SSDHead`, is always zero. Anchors are in
    the order level, row, column, anchor of the cell. `num_anchors` has the number of anchors per
    cell for every level; ValueError unless they are equal. Weights start with a deviation of 0.01;
    `initial_probability` is that of every class, see `class_bias`.
    """

    num_classes: int
    num_anchors: tuple[int, ...]
    activation: Activation = relu
    initial_probability: float = 0.01

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], *, train: bool) -> tuple[jax.Array, jax.Array]:
        count = same_count(maps, self.num_anchors)
        bias = class_bias(self.initial_probability, self.num_classes, before=0)
        predict = dict(
            boxes=Conv(4 * count, 3, kernel_init=small, name="boxes"),
            logits=Conv(
                self.num_classes * count, 3, kernel_init=small, bias_init=bias, name="logits"
            ),
        )
        found = {}
        for name, layer in predict.items():
            tower = conv_tower(4, maps[0].shape[-1], self.activation, f"{name}_conv")
            found[name] = [layer(through(tower, x, train=train)) for x in maps]
        logits = flatten_levels(found["logits"], self.num_classes)
        return flatten_levels(found["boxes"], 4), jnp.pad(logits, ((0, 0), (0, 0), (1, 0)))


retinanet = RetinaNetHead
