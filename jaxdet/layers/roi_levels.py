"""Which map of a pyramid a region is pooled from."""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

from jaxdet.layers.precision import full


def pool_levels(
    maps: Sequence[jax.Array],
    boxes: jax.Array,
    *,
    shape: tuple[int, int],
    strides: tuple[int, ...],
    pool: Callable[..., jax.Array],
) -> jax.Array:
    """Every region pooled from the map that `levels_of` says: [B, R, h, w, C].

    `boxes` [B, R, 4] are fractions of an input of `shape` (height, width) pixels; `pool` is one of
    the functions of `roi.py`, with its options. ValueError unless there is a map for every stride.
    """
    if len(maps) != len(strides):
        raise ValueError(f"there are {len(maps)} maps, but {len(strides)} strides: {strides}")
    boxes = full(lax.stop_gradient(boxes))
    pixels = boxes * jnp.array([[[shape[1], shape[0]] * 2]], boxes.dtype)
    level = levels_of(pixels, strides)
    cells = pixels / jnp.array(strides, boxes.dtype)[level][..., None]
    return pool(maps, cells, level=level)


def levels_of(boxes_pixels: jax.Array, strides: tuple[int, ...]) -> jax.Array:
    """The map that each region [..., 4] in pixels is pooled from: [...], int32, 0 the first.

    That of stride 16 for a square of 224 pixels, of twice the stride for twice the side, rounded
    down (FPN, Lin et al. 2017, arXiv:1612.03144, section 4.2, equation 1).
    """
    sides = jnp.maximum(boxes_pixels[..., 2:] - boxes_pixels[..., :2], 0)
    exact = 4 + jnp.log2(jnp.sqrt(sides[..., 0] * sides[..., 1]) / 224) + 1e-6
    first, last = (round(math.log2(strides[i])) for i in (0, -1))
    return jnp.clip(jnp.floor(exact), first, last).astype(jnp.int32) - first
