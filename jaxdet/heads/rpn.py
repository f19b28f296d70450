"""The head of a region proposal network (Ren et al. 2015, arXiv:1506.01497, section 3.1)."""

import flax.linen as nn
import jax

from jaxdet.heads.ssd import flatten_levels, same_count
from jaxdet.layers.activations import relu
from jaxdet.layers.blocks import Activation, Conv, ConvBlock

small = nn.initializers.normal(0.01)


class RPNHead(nn.Module):
    """Box codes [B, A, 4] and logits [B, A, 1] of the anchors of all maps.

    The logit is of there being an object. `convs` 3x3 convolutions, as wide as the maps, precede a
    1x1 convolution for the logits and one for the boxes; all maps have the same layers (FPN,
    arXiv:1612.03144, section 4.1). Anchors are in the order level, row, column, anchor of the cell.
    `num_anchors` has the number of anchors per cell for every level; ValueError unless they are
    equal. Weights start with a deviation of 0.01.
    """

    num_anchors: tuple[int, ...]
    convs: int = 1
    activation: Activation = relu

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], *, train: bool) -> tuple[jax.Array, jax.Array]:
        count = same_count(maps, self.num_anchors)
        tower = conv_tower(self.convs, maps[0].shape[-1], self.activation, "conv")
        logits = Conv(count, 1, kernel_init=small, name="logits")
        boxes = Conv(4 * count, 1, kernel_init=small, name="boxes")
        seen = [through(tower, x, train=train) for x in maps]
        return flatten_levels([*map(boxes, seen)], 4), flatten_levels([*map(logits, seen)], 1)


def conv_tower(count: int, features: int, activation: Activation, name: str) -> list[ConvBlock]:
    """So many 3x3 convolutions with a bias and an activation, to be applied to several maps."""
    options = dict(norm=None, activation=activation, kernel_init=small)
    return [ConvBlock(features, 3, **options, name=f"{name}{i + 1}") for i in range(count)]


def through(layers: list[ConvBlock], x: jax.Array, *, train: bool) -> jax.Array:
    """x after all `layers`, one after the other."""
    for layer in layers:
        x = layer(x, train=train)
    return x


rpn = RPNHead
