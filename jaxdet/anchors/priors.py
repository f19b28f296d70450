"""Dimension priors: the box shapes that fit a training set best (YOLO9000, section 2)."""

import numpy as np

_RESTARTS, _ROUNDS = 8, 300


def cluster(sides: np.ndarray, count: int, *, seed: int = 0) -> np.ndarray:
    """Clusters boxes of `sides` [n, 2] into `count` shapes, smallest area first: [count, 2].

    k-means (Lloyd) with the distance 1 - IoU between boxes with a common centre, and the median as
    the new shape: a mean is pulled away by a few large boxes and fits the rest worse. Of several
    random starts (k-means++) the one with the highest `mean_iou` is kept. ValueError if there are
    fewer different shapes than `count`.
    """
    distinct = len(np.unique(sides, axis=0))
    if not 0 < count <= distinct:
        raise ValueError(
            f"{count} priors for boxes of {distinct} different shapes, expected 1 to {distinct}"
        )
    tries = [
        _cluster_once(sides, count, np.random.default_rng([seed, i])) for i in range(_RESTARTS)
    ]
    best = max(tries, key=lambda shapes: mean_iou(sides, shapes))
    return best[np.argsort(best.prod(axis=1))]


def mean_iou(sides: np.ndarray, shapes: np.ndarray) -> float:
    """The mean, over boxes of `sides` [n, 2], of the IoU with the best of `shapes` [k, 2]."""
    return float(shape_iou(sides, shapes).max(axis=1).mean())


def shape_iou(sides: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """The IoU [n, k] of boxes [n, 2] and [k, 2] with a common centre."""
    common = np.minimum(sides[:, None], shapes[None]).prod(axis=2)
    return common / (sides.prod(axis=1)[:, None] + shapes.prod(axis=1)[None] - common)


def _cluster_once(sides, count, rng) -> np.ndarray:
    shapes = _first_shapes(sides, count, rng)
    nearest = None
    for _ in range(_ROUNDS):
        before, nearest = nearest, shape_iou(sides, shapes).argmax(axis=1)
        if before is not None and (before == nearest).all():
            break
        for k in np.unique(nearest):  # a shape without boxes stays as it is
            shapes[k] = np.median(sides[nearest == k], axis=0)
    return shapes


def _first_shapes(sides, count, rng) -> np.ndarray:
    """k-means++: each next shape is a random box, likelier the worse it fits the shapes so far."""
    shapes = sides[rng.integers(len(sides))][None]
    while len(shapes) < count:
        distance = 1 - shape_iou(sides, shapes).max(axis=1)
        chance = np.maximum(distance, 0) ** 2
        shapes = np.concatenate(
            [shapes, sides[rng.choice(len(sides), p=chance / chance.sum())][None]]
        )
    return shapes.astype(np.float64)
