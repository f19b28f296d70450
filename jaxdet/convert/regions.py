"""Layers of a head for regions, from the order in which PyTorch's detectors have them to ours."""

from collections.abc import Sequence

import numpy as np

SIDE = 7  # cells along the sides of a pooled region


def window(weight: np.ndarray) -> np.ndarray:
    """The weight [units, C S S] of the first fully connected layer as a kernel [units, C, S, S]."""
    return weight.reshape(len(weight), -1, SIDE, SIDE)


def by_field(rows: np.ndarray, order: Sequence[int] = (0, 1, 2, 3)) -> np.ndarray:
    """Rows [K 4, ...] of the layer for boxes, class by class, as [4 K, ...], x of all first.

    `order` has the positions of x, y, width and height among the four of a class.
    """
    classes = rows.reshape(-1, 4, *rows.shape[1:])
    return classes[:, list(order)].swapaxes(0, 1).reshape(rows.shape)
