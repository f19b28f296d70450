"""SSD's head: per map a convolution for the classes and one for the boxes (section 2.1)."""

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdet.layers.blocks import Conv, Initializer


class SSDHead(nn.Module):
    """Box codes [B, A, 4] and logits [B, A, K + 1] of the anchors of all maps.

    Anchors are in the order level, row, column, anchor of the cell; logit 0 is the background.
    `num_anchors` has the number of anchors per cell for every level; `size` is the side of the
    kernels: 3, or 1 in Pelee; `initial_probability` is that of every class, see `class_bias`.
    """

    num_classes: int
    num_anchors: tuple[int, ...]
    size: int = 3
    initial_probability: float = 0.0

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], *, train: bool) -> tuple[jax.Array, jax.Array]:
        conv = lambda level, features, name, bias: Conv(
            features, self.size, bias_init=bias, name=name
        )
        options = dict(initial_probability=self.initial_probability)
        return predict_levels(maps, self.num_anchors, self.num_classes, conv, **options)


def predict_levels(
    maps: tuple[jax.Array, ...],
    num_anchors: tuple[int, ...],
    num_classes: int,
    layer: Callable[[int, int, str, Initializer], Callable[[jax.Array], jax.Array]],
    *,
    initial_probability: float = 0.0,
) -> tuple[jax.Array, jax.Array]:
    """Box codes [B, A, 4] and logits [B, A, K + 1] of all maps.

    `layer` makes the layer that predicts from a map, given its level, output features, a name, and
    what initialises its bias; `initial_probability` as in `class_bias`. ValueError unless there is
    an anchor count for every map.
    """
    check_levels(maps, num_anchors)
    boxes, logits = [], []
    zeros, bias = nn.initializers.zeros, class_bias(initial_probability, num_classes, before=1)
    for i, (x, count) in enumerate(zip(maps, num_anchors, strict=True)):
        logits.append(layer(i, count * (num_classes + 1), f"logits{i}", bias)(x))
        boxes.append(layer(i, count * 4, f"boxes{i}", zeros)(x))
    return flatten_levels(boxes, 4), flatten_levels(logits, num_classes + 1)


def check_levels(maps: tuple[jax.Array, ...], num_anchors: tuple[int, ...]) -> None:
    """ValueError unless there is an anchor count for every map."""
    if len(maps) != len(num_anchors):
        raise ValueError(f"{len(maps)} maps, but anchors for {len(num_anchors)} levels")


def same_count(maps: tuple[jax.Array, ...], num_anchors: tuple[int, ...]) -> int:
    """The number of anchors per cell in a head whose layers all maps share.

    ValueError unless there is one for every map, and all are equal.
    """
    check_levels(maps, num_anchors)
    if len(set(num_anchors)) != 1:
        raise ValueError(f"maps that share layers have equally many anchors, not {num_anchors}")
    return num_anchors[0]


def flatten_levels(maps: list[jax.Array], fields: int) -> jax.Array:
    """Maps [B, H, W, anchors x fields] as one [B, A, fields]."""
    return jnp.concatenate([x.reshape(x.shape[0], -1, fields) for x in maps], axis=1)


def class_bias(probability: float, num_classes: int, *, before: int) -> Initializer:
    """What initialises a bias so that a sigmoid gives every class that probability at first.

    Otherwise the many negatives, each with a probability of one half, outweigh all else in the
    first steps; 0.01 is usual, and 0 leaves the bias at zero (Lin et al. 2017, arXiv:1708.02002,
    sections 3.3 and 4.1). An anchor's outputs are `before` others, which start at zero, and the
    logits of its classes. ValueError for a probability outside [0, 1).
    """
    if not 0 <= probability < 1:
        raise ValueError(f"initial_probability is {probability}, expected in (0, 1), or 0 for none")
    if probability == 0:
        return nn.initializers.zeros
    of_anchor = [0.0] * before + [math.log(probability / (1 - probability))] * num_classes

    def init(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> jax.Array:
        return jnp.tile(jnp.array(of_anchor, dtype), shape[0] // len(of_anchor))

    return init


ssd = SSDHead
