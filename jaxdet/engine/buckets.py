"""Which canvas an image is passed on, where a recipe has several: inputs of a few fixed shapes.

Each shape of a canvas is an input of the same shape (`window.input_shape`), for which one program
is compiled. An image gets the smallest input that it fills as it would fill a large one.
"""

import functools
from collections.abc import Callable

import jax
import numpy as np

from jaxdet import build, data
from jaxdet.augment.window import input_shape
from jaxdet.types import Fit, Shape

_ROWS = 256  # sizes are padded to a multiple of this, so that few programs are compiled


def canvases(recipe: build.Recipe, sizes: np.ndarray) -> data.Canvases:
    """The canvases of a recipe, and which of them images of `sizes` [n, 2] (height, width) get.

    ValueError if an image would need a larger input than there is.
    """
    shapes = recipe.data.canvases
    if len(shapes) == 1:
        return data.Canvases(shapes, np.zeros(len(sizes), int))
    padded = np.ones((-(-len(sizes) // _ROWS) * _ROWS, 2), np.int32)
    padded[: len(sizes)] = sizes
    place = _place(recipe.detector.fit, recipe.detector.size)
    places = np.asarray(place(padded))[: len(sizes)]
    needed = (places[:, 2:] - places[:, :2])[:, None, ::-1]  # [n, 1, 2] height, width
    holds = (needed <= np.array(input_shapes(recipe))).all(axis=2)  # [n, shapes]
    if not holds.any(axis=1).all():
        i = int(np.argmin(holds.any(axis=1)))
        height, width = needed[i, 0]
        raise ValueError(
            f"config.data.canvas: images of {sizes[i][0]}x{sizes[i][1]} (height x width) need an "
            f"input of {height}x{width}, and there are only {described(recipe)}"
        )
    return data.Canvases(shapes, holds.argmax(axis=1))


@functools.lru_cache(maxsize=64)
def _place(fit: Fit, size: int) -> Callable:
    """Where images of sizes [n, 2] are in a square input; compiled once for every n."""
    return jax.jit(jax.vmap(functools.partial(fit, shape=(size, size))))


def check(recipe: build.Recipe) -> None:
    """ValueError unless there is an input for every aspect that an image can have."""
    canvases(recipe, np.array([(1, 10_000), (10_000, 1), (1_000, 1_000)]))


def input_shapes(recipe: build.Recipe, size: int | None = None) -> tuple[Shape, ...]:
    """The shapes of a recipe's inputs at `size`, by default the detector's, the smallest first."""
    size = size or recipe.detector.size
    return tuple(input_shape(size, recipe.detector.fit, each) for each in recipe.data.canvases)


def described(recipe: build.Recipe) -> str:
    """The shapes of a recipe's inputs in words: "800x1088, 1088x800"."""
    return ", ".join(f"{height}x{width}" for height, width in input_shapes(recipe))
