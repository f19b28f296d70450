"""Detection in tiles: a large image in overlapping parts, so that small objects stay large enough.

An object on a border is whole in a neighbouring tile if it is no larger than the overlap, or in the
view of the whole image. So a box that an inner border cuts counts only where nothing else of its
class covers it.
"""

import numpy as np

from jaxdet.types import ImageDetections, Shape

_NEAR = 0.02  # of a tile's side: a box that ends this near to a border is cut by it
_COVERED = 0.5  # share of a cut box that lies in another box


def windows(shape: Shape, tile: int, overlap: float) -> np.ndarray:
    """The tiles [n, 4] x1 y1 x2 y2 in pixels that cover an image of `shape` (height, width).

    Neighbours share at least `overlap` of a tile's side. Tiles are squares of `tile` pixels; where
    the image is smaller than one, they end with it.
    """
    ys, xs = (_starts(side, tile, overlap) for side in shape)
    low = np.array([(x, y) for y in ys for x in xs])
    return np.concatenate([low, np.minimum(low + tile, shape[::-1])], axis=1)


def _starts(side: int, tile: int, overlap: float) -> list[int]:
    step = max(1, int(tile * (1 - overlap)))
    count = 1 + max(0, -(-(side - tile) // step))
    return np.linspace(0, max(0, side - tile), count).round().astype(int).tolist()


def merge(
    whole: ImageDetections,
    of_tiles: list[ImageDetections],
    tiles: np.ndarray,
    shape: Shape,
    *,
    iou: float,
    agnostic: bool,
) -> ImageDetections:
    """The detections in an image of `shape`, from those in all of it and those in its tiles [n, 4].

    Boxes of a tile are in the tile's pixels. NMS, class by class unless `agnostic`: a box falls if
    a kept one overlaps it by more than `iou`, or, where a border cuts it, covers half of it. Cut
    boxes come after all others.
    """
    moved = [each.boxes + np.tile(tile[:2], 2) for each, tile in zip(of_tiles, tiles, strict=True)]
    cut = [_is_cut(boxes, tile, shape) for boxes, tile in zip(moved, tiles, strict=True)]
    every = [whole, *of_tiles]
    found = ImageDetections(
        np.concatenate([whole.boxes, *moved]).astype(np.float32),
        np.concatenate([each.scores for each in every]),
        np.concatenate([each.labels for each in every]),
    )
    cut = np.concatenate([np.zeros(len(whole.scores), bool), *cut])
    kept = _suppress(found, cut, iou=iou, agnostic=agnostic)
    return found.select(kept[np.argsort(-found.scores[kept], kind="stable")])


def _is_cut(boxes: np.ndarray, tile: np.ndarray, shape: Shape) -> np.ndarray:
    """Which boxes [m, 4] reach a border of the tile that is not one of the image."""
    near = _NEAR * (tile[2:] - tile[:2])
    low = (tile[:2] > 0) & (boxes[:, :2] < tile[:2] + near)
    high = (tile[2:] < np.array(shape[::-1])) & (boxes[:, 2:] > tile[2:] - near)
    return np.any(low | high, axis=1)


def _suppress(found: ImageDetections, cut: np.ndarray, *, iou: float, agnostic: bool) -> np.ndarray:
    """The indices of the detections that stay; see `merge`."""
    boxes, areas = found.boxes, np.prod(found.boxes[:, 2:] - found.boxes[:, :2], axis=1)
    left, kept = np.lexsort((-found.scores, cut)), []
    while len(left):
        first, left = left[0], left[1:]
        kept.append(first)
        low = np.maximum(boxes[first, :2], boxes[left, :2])
        high = np.minimum(boxes[first, 2:], boxes[left, 2:])
        both = np.prod(np.maximum(high - low, 0), axis=1)
        union = areas[first] + areas[left] - both
        falls = np.where(cut[left], both > _COVERED * areas[left], both > iou * union)
        if not agnostic:
            falls &= found.labels[left] == found.labels[first]
        left = left[~falls]
    return np.array(kept, int)
