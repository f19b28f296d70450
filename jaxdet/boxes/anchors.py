"""Anchors: the boxes a detector starts from, computed once, on the host."""

import itertools
import math
from collections.abc import Sequence

import numpy as np

from jaxdet.types import Anchors, Shape

_CLIPPED = {"all": slice(0, 4), "sides": slice(2, 4), "none": slice(0)}  # of cx cy w h


def boxes_per_cell(ratios: Sequence[Sequence[float]]) -> tuple[int, ...]:
    """Boxes per cell of each level: two squares, and a wide and a tall box for each ratio."""
    return tuple(2 + 2 * len(of_level) for of_level in ratios)


def default_boxes(
    grids: Sequence[tuple[int, int]],
    *,
    size: int,
    strides: Sequence[float],
    min_sizes: Sequence[float],
    max_sizes: Sequence[float],
    ratios: Sequence[Sequence[float]],
    clip: str = "all",
) -> Anchors:
    """SSD's default boxes (paper, section 2.2), by level, row, column and shape; float32 numpy.

    All lists have one entry per level: `grids` are (rows, columns); `strides`, `min_sizes` and
    `max_sizes` are pixels of an input of `size` x `size`. A centre lies half a stride into its
    cell, and the stride is the listed one, not size / rows; with no `strides` it is size / rows, so
    that the cells cover the input evenly. Shapes: a square with the minimum side, a square with the
    geometric mean of both sides, then for each ratio a wide and a tall box with the area of the
    first square. `clip` says which of cx, cy, w and h (never the corners) are
    clipped to 0..1: "all" (SSD's published code), "sides" (torchvision) or "none" (mmdetection).
    Raises ValueError if the lists differ in length, `clip` is none of these, a level has no cells,
    or centres would lie outside the input by more than a quarter of its side.
    """
    empty = [level for level, grid in enumerate(grids, start=1) if not min(grid)]
    if empty:
        raise ValueError(f"an input of {size} is too small: level {empty[0]} has no cells")
    strides = strides or [size / rows for rows, _ in grids]
    levels = {"grids": grids, "strides": strides, "min_sizes": min_sizes}
    levels |= {"max_sizes": max_sizes, "ratios": ratios}
    lengths = {name: len(values) for name, values in levels.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"expected one entry per level in each list, found {lengths}")
    if clip not in _CLIPPED:
        raise ValueError(f"clip is {clip!r}, expected one of {', '.join(_CLIPPED)}")
    boxes, cells = [], []
    for grid, stride, *sizes, of_level in zip(*levels.values(), strict=True):
        # The last centre may lie outside if a grid is rounded up; in SSD it does by a hundredth.
        if (max(grid) - 0.5) * stride > 1.25 * size:
            raise ValueError(
                f"{max(grid)} cells of {stride:g} pixels reach beyond an input of {size}: strides "
                "are for one input size; without any the cells cover every input"
            )
        shapes = np.array(_shapes(*sizes, of_level)) / size  # [shapes, 2]
        corners = _cell_corners(grid) * stride / size  # [cells, 2]
        step = np.full(2, stride / size)
        boxes += [_cross(corners + step / 2, shapes)]
        cells += [np.repeat(_cross(corners, step[None]), len(shapes), axis=0)]
    all_boxes = np.concatenate(boxes)
    columns = _CLIPPED[clip]
    all_boxes[:, columns] = all_boxes[:, columns].clip(0, 1)
    return Anchors(
        boxes=all_boxes.astype(np.float32), cell=np.concatenate(cells).astype(np.float32)
    )


def prior_boxes(
    grids: Sequence[tuple[int, int]],
    shape: Shape,
    *,
    priors: Sequence[Sequence[tuple[float, float]]],
    sensitivity: Sequence[float] | None = None,
) -> Anchors:
    """YOLO's priors (YOLO9000, section 2), by level, row, column and prior; float32 numpy.

    One entry per level: `grids` are (rows, columns), which divide the image evenly; `priors`
    are the (width, height) of the boxes centred in every cell, in pixels of an input of `shape`;
    `sensitivity` stretches the part of the image that a cell's centres can lie in (YOLOv4,
    section 3.4, "eliminate grid sensitivity"). Raises ValueError if the lists differ in length.
    """
    if len(grids) != len(priors):
        raise ValueError(f"{len(priors)} levels of priors for {len(grids)} maps")
    if sensitivity is not None and len(sensitivity) != len(priors):
        raise ValueError(f"sensitivity has {len(sensitivity)} levels, priors have {len(priors)}")
    boxes, cells, reaches = [], [], []
    for level, (grid, of_level) in enumerate(zip(grids, priors, strict=True)):
        step = 1 / np.array(grid[::-1])  # x, y
        corners = _cell_corners(grid) * step  # [cells, 2]
        boxes += [_cross(corners + step / 2, np.array(of_level) / shape[::-1])]
        cells += [np.repeat(_cross(corners, step[None]), len(of_level), axis=0)]
        if sensitivity is not None:
            wide = sensitivity[level] * step
            reach = _cross(corners - (wide - step) / 2, wide[None])
            reaches += [np.repeat(reach, len(of_level), axis=0)]
    join = lambda arrays: np.concatenate(arrays).astype(np.float32)
    return Anchors(join(boxes), join(cells), join(reaches) if reaches else None)


def cells(grids: Sequence[tuple[int, int]], shape: Shape) -> Anchors:
    """The cells themselves, by level, row and column: anchors of YOLOX, which has no priors.

    `grids` and `shape` as in `prior_boxes`.
    """
    sides = [((shape[1] / columns, shape[0] / rows),) for rows, columns in grids]
    return prior_boxes(grids, shape, priors=sides)


def grid_anchors(
    grids: Sequence[tuple[int, int]],
    shape: tuple[int, int],
    *,
    sizes: Sequence[Sequence[float]],
    ratios: Sequence[float],
    strides: Sequence[float] = (),
    offset: float = 0.0,
    rounded: bool = True,
) -> Anchors:
    """Faster R-CNN's anchors (paper, section 3.1.1), by level, row, column, ratio and size.

    `grids` are (rows, columns) of each level, `shape` is (height, width) of the input in pixels.
    Each level has its `sizes`, the sides in pixels of squares, of whose area there is one box for
    each of the `ratios`, height / width. Cells are `strides` pixels wide and high, one number per
    level; with none a cell has the input's sides // those of the grid (torchvision). A centre lies
    the share `offset` of a stride into its cell: 0 for torchvision, 0.5 for chenyuntc. With
    `rounded` the corners are whole pixels from the centre, rounded half to even (torchvision).
    Boxes may reach beyond the input. Float32 numpy, computed in float64. Raises ValueError if the
    lists differ in length, or a level has no cells or, without `strides`, more than there are
    pixels.
    """
    if len(sizes) != len(grids) or len(strides) not in (0, len(grids)):
        found = {"grids": len(grids), "sizes": len(sizes), "strides": len(strides)}
        raise ValueError(f"expected one entry per level in each list, found {found}")
    height_width = np.array(shape)
    boxes, cells = [], []
    for level, (grid, of_level) in enumerate(zip(grids, sizes, strict=True)):
        if not min(grid) or (not strides and (height_width < grid).any()):
            raise ValueError(f"level {level + 1} has {grid} cells in an input of {shape}")
        step = np.full(2, strides[level]) if strides else height_width // grid
        step = step[::-1] / height_width[::-1]  # x, y, as fractions
        corners = _cell_corners(grid) * step  # [cells, 2]
        sides = _sides(of_level, ratios, rounded=rounded) / height_width[::-1]
        boxes += [_cross(corners + offset * step, sides)]
        cells += [np.repeat(_cross(corners, step[None]), len(sides), axis=0)]
    join = lambda arrays: np.concatenate(arrays).astype(np.float32)
    return Anchors(boxes=join(boxes), cell=join(cells))


def _shapes(min_size, max_size, ratios):
    """Width and height of every box of a cell, in the units of the sizes."""
    squares = [(min_size, min_size), (math.sqrt(min_size * max_size),) * 2]
    wide = [(min_size * math.sqrt(r), min_size / math.sqrt(r)) for r in ratios]
    return squares + list(itertools.chain(*((shape, shape[::-1]) for shape in wide)))


def _sides(sizes, ratios, *, rounded):
    """Width and height in pixels of the boxes of a cell: [ratios * sizes, 2]."""
    roots = np.sqrt(np.array(ratios, float))[:, None]
    sides = np.stack([sizes / roots, sizes * roots], axis=-1).reshape(-1, 2)
    return 2 * np.rint(sides / 2) if rounded else sides


def _cell_corners(grid):
    """Column and row (x, y) of every cell, row by row: [rows * columns, 2]."""
    rows, columns = np.indices(grid)
    return np.stack([columns.ravel(), rows.ravel()], axis=1)


def _cross(first, second):
    """Every row of first [n, 2] joined with every row of second [m, 2]: [n * m, 4]."""
    return np.concatenate(
        [np.repeat(first, len(second), axis=0), np.tile(second, (len(first), 1))], axis=1
    )
