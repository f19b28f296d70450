"""SSD's head: per map a convolution for the classes and one for the boxes (section 2.1)."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdet.layers.blocks import Conv


class SSDHead(nn.Module):
    """Box codes [B, A, 4] and logits [B, A, K + 1] of the anchors of all maps.

    Anchors are in the order level, row, column, anchor of the cell; logit 0 is the background.
    `num_anchors` has the number of anchors per cell for every level; `size` is the side of the
    kernels: 3, or 1 in Pelee.
    """

    num_classes: int
    num_anchors: tuple[int, ...]
    size: int = 3

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], *, train: bool) -> tuple[jax.Array, jax.Array]:
        conv = lambda level, features, name: Conv(features, self.size, name=name)
        return predict_levels(maps, self.num_anchors, self.num_classes, conv)


def predict_levels(
    maps: tuple[jax.Array, ...],
    num_anchors: tuple[int, ...],
    num_classes: int,
    layer: Callable[[int, int, str], Callable[[jax.Array], jax.Array]],
) -> tuple[jax.Array, jax.Array]:
    """Box codes [B, A, 4] and logits [B, A, K + 1] of all maps.

    `layer` makes the layer that predicts from a map, given its level, output features and a name.
    ValueError unless there is an anchor count for every map.
    """
    check_levels(maps, num_anchors)
    boxes, logits = [], []
    for i, (x, count) in enumerate(zip(maps, num_anchors, strict=True)):
        logits.append(layer(i, count * (num_classes + 1), f"logits{i}")(x))
        boxes.append(layer(i, count * 4, f"boxes{i}")(x))
    return flatten_levels(boxes, 4), flatten_levels(logits, num_classes + 1)


def check_levels(maps: tuple[jax.Array, ...], num_anchors: tuple[int, ...]) -> None:
    """ValueError unless there is an anchor count for every map."""
    if len(maps) != len(num_anchors):
        raise ValueError(f"{len(maps)} maps, but anchors for {len(num_anchors)} levels")


def flatten_levels(maps: list[jax.Array], fields: int) -> jax.Array:
    """Maps [B, H, W, anchors x fields] as one [B, A, fields]."""
    return jnp.concatenate([x.reshape(len(x), -1, fields) for x in maps], axis=1)


ssd = SSDHead
