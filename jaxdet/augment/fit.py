"""How images are placed in a network's input: `model.fit` in a recipe names a function here.

Each takes the size [2] of an image, height and width in pixels, and the shape of the input, and
returns the place of the image in it: x1 y1 x2 y2 in whole pixels [4], int32. Beyond it is padding.
"""

import functools
from fractions import Fraction

import jax.numpy as jnp
import numpy as np

from jaxdet.types import Array, Shape


def stretch(size: Array, shape: Shape) -> Array:
    """All of the input, whatever the image's aspect (SSD)."""
    del size
    return jnp.array([0, 0, shape[1], shape[0]])


def letterbox(size: Array, shape: Shape) -> Array:
    """The largest place with the image's aspect, in the middle, as in Darknet.

    Its sides are rounded down, and an odd pixel of the padding goes to the right and below.
    """
    height, width = jnp.maximum(size[0], 1), jnp.maximum(size[1], 1)
    wide = shape[0] * width >= shape[1] * height  # the width is what limits it
    rows = jnp.where(wide, shape[1] * height // width, shape[0])
    columns = jnp.where(wide, shape[1], shape[0] * width // height)
    filled = jnp.maximum(jnp.stack([columns, rows]), 1)
    before = (jnp.array(shape[::-1]) - filled) // 2
    return jnp.concatenate([before, before + filled])


def shorter_side(size: Array, shape: Shape, *, longest: int = 1333) -> Array:
    """At the top left, the image's shorter side as long as the input's (Faster R-CNN, section 3).

    If its longer side would then exceed `longest` pixels, it is `longest`. Sides are rounded down
    as in torchvision, in whose float64 the shorter side can come out one pixel short.
    """
    size = jnp.maximum(size, 1)
    low, high = size.min(), size.max()
    by_shorter = min(shape) * high <= longest * low
    return _at_top_left(size, by_shorter, (min(shape), low), (longest, high))


def top_left(size: Array, shape: Shape) -> Array:
    """The largest place with the image's aspect, at the top left, as in YOLOX.

    Its sides are rounded down as in YOLOX's float64, which can leave the longer one a pixel short.
    """
    size = jnp.maximum(size, 1)
    by_height = shape[0] * size[1] < shape[1] * size[0]
    return _at_top_left(size, by_height, (shape[0], size[0]), (shape[1], size[1]))


def _at_top_left(size: Array, first: Array, *factors: tuple[int, Array]) -> Array:
    """The place of an image whose sides are multiplied by a factor, and rounded down as in float64.

    Both `factors` are (pixels, pixels of the image): a number and an array []; `first` says which.
    """
    given, side = (jnp.where(first, *pair) for pair in zip(*factors, strict=True))
    filled = size * given // side
    # Where the quotient is whole, float64 gives less if it rounded the factor given / side down by
    # more than half of the distance from the quotient to the next lower number.
    exact = filled * side == size * given
    row = jnp.minimum(side, _SIDES)
    error = jnp.where(first, *(jnp.array(_errors(given))[row] for given, _ in factors))
    spacing = 2.0 ** (jnp.ceil(jnp.log2(filled.astype(jnp.float32))) - 53)
    filled -= exact & (filled * error < -spacing / 2)
    return jnp.concatenate([jnp.zeros(2, jnp.int32), jnp.maximum(filled, 1)[::-1]])


_SIDES = 8192  # of a longer side no quotient is taken to be inexact


@functools.cache
def _errors(given: int) -> np.ndarray:
    """By how much of itself float64 rounds given / side, for every side up to `_SIDES`."""
    exact = [Fraction(given, side) for side in range(1, _SIDES)]
    wrong = [float((Fraction(float(q)) - q) / q) for q in exact]
    return np.array([0.0, *wrong, 0.0], np.float32)
