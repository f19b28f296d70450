"""A classifier's head: the logits averaged over the coarsest map (arXiv:1612.08242, table 6)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdet.heads.ssd import check_levels
from jaxdet.layers.blocks import Conv


class ClassifierHead(nn.Module):
    """Logits [B, 1, K] of the classes in the image: a 1x1 convolution, averaged over all cells.

    The only anchor is the whole image; its box codes [B, 1, 4] are zeros. `num_anchors` is (1,).
    """

    num_classes: int
    num_anchors: tuple[int, ...]

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], *, train: bool) -> tuple[jax.Array, jax.Array]:
        check_levels(maps[-1:], self.num_anchors)
        logits = Conv(self.num_classes, 1, name="conv")(maps[-1]).mean((1, 2))  # [B, K]
        return jnp.zeros((len(logits), 1, 4), logits.dtype), logits[:, None]


classifier = ClassifierHead
