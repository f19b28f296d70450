"""Default boxes against a plain loop and hand-worked numbers."""

import math

import numpy as np
import pytest

from jaxdet.boxes import anchors

SSD300 = {
    "size": 300,
    "strides": (8, 16, 32, 64, 100, 300),
    "min_sizes": (30, 60, 111, 162, 213, 264),
    "max_sizes": (60, 111, 162, 213, 264, 315),
    "ratios": ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,)),
}
GRIDS300 = tuple((n, n) for n in (38, 19, 10, 5, 3, 1))
ONE = {"size": 100, "strides": (50,), "min_sizes": (20,), "max_sizes": (45,), "ratios": ((4,),)}
EVEN = dict(strides=(), min_sizes=(20, 40), max_sizes=(40, 60), ratios=((), ()))


def loop(grids, *, size, strides, min_sizes, max_sizes, ratios):
    boxes, cells = [], []
    for level, (rows, columns) in enumerate(grids):
        small = min_sizes[level] / size
        big = math.sqrt(min_sizes[level] * max_sizes[level]) / size
        step = strides[level] / size
        for row in range(rows):
            for column in range(columns):
                sides = [(small, small), (big, big)]
                for ratio in ratios[level]:
                    sides.append((small * ratio**0.5, small / ratio**0.5))
                    sides.append((small / ratio**0.5, small * ratio**0.5))
                for w, h in sides:
                    boxes.append(((column + 0.5) * step, (row + 0.5) * step, w, h))
                    cells.append((column * step, row * step, step, step))
    return np.array(boxes), np.array(cells)


def test_ssd300_has_8732_boxes_in_the_order_of_the_loop():
    made = anchors.default_boxes(GRIDS300, **SSD300)
    boxes, cells = loop(GRIDS300, **SSD300)
    assert made.boxes.shape == (8732, 4)
    assert made.boxes.dtype == made.cell.dtype == np.float32
    np.testing.assert_allclose(made.boxes, boxes.clip(0, 1), atol=1e-7)
    np.testing.assert_allclose(made.cell, cells, atol=1e-7)


def test_one_row_of_two_cells_by_hand():
    made = anchors.default_boxes(((1, 2),), **ONE)
    left = [[0.2, 0.2], [0.3, 0.3], [0.4, 0.1], [0.1, 0.4]]
    np.testing.assert_allclose(made.boxes[:4, 2:], left, atol=1e-7)
    np.testing.assert_allclose(made.boxes[:, 0], [0.25] * 4 + [0.75] * 4, atol=1e-7)
    np.testing.assert_allclose(made.boxes[:, 1], 0.25, atol=1e-7)
    np.testing.assert_allclose(made.cell[4:], [[0.5, 0, 0.5, 0.5]] * 4, atol=1e-7)


def test_clip_cuts_sides_and_centres_and_not_corners():
    wide = ONE | {"min_sizes": (80,), "max_sizes": (90,)}
    free = anchors.default_boxes(((1, 3),), **wide, clip="none").boxes
    clipped = anchors.default_boxes(((1, 3),), **wide).boxes
    assert free[:, 0].max() == 1.25
    assert free[:, 2].max() == np.float32(1.6)
    np.testing.assert_array_equal(clipped, free.clip(0, 1))
    assert (clipped[:, 0] - clipped[:, 2] / 2).min() < 0
    narrow = anchors.default_boxes(((1, 3),), **wide, clip="sides").boxes
    np.testing.assert_array_equal(narrow[:, :2], free[:, :2])
    np.testing.assert_array_equal(narrow[:, 2:], clipped[:, 2:])


def test_boxes_per_cell_counts_what_is_made():
    assert anchors.boxes_per_cell(SSD300["ratios"]) == (4, 6, 6, 6, 4, 4)
    assert anchors.boxes_per_cell(((), (2,))) == (2, 4)
    cells = [rows * columns for rows, columns in GRIDS300]
    per_cell = anchors.boxes_per_cell(SSD300["ratios"])
    assert sum(c * b for c, b in zip(cells, per_cell, strict=True)) == 8732


def test_strides_of_another_size_are_refused():
    level = dict(min_sizes=[30], max_sizes=[60], ratios=[()], strides=[8])
    anchors.default_boxes([(38, 38)], size=300, **level)  # SSD's own reach to exactly 300
    with pytest.raises(ValueError, match="48 cells of 8 pixels reach beyond an input of 300"):
        anchors.default_boxes([(48, 48)], size=300, **level)


def test_without_strides_the_cells_cover_any_input_evenly():
    made = anchors.default_boxes(((2, 2), (1, 1)), size=100, **EVEN)
    np.testing.assert_allclose(
        made.boxes[::2, :2], [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75], [0.5, 0.5]]
    )
    np.testing.assert_allclose(made.cell[::2, 2:], [[0.5, 0.5]] * 4 + [[1, 1]])


def test_an_input_too_small_is_refused():
    with pytest.raises(ValueError, match="an input of 100 is too small: level 2 has no cells"):
        anchors.default_boxes(((2, 2), (0, 0)), size=100, **EVEN)


def test_unknown_clip_is_refused():
    with pytest.raises(ValueError, match="clip is 'corners', expected one of all, sides, none"):
        anchors.default_boxes(((1, 1),), **ONE, clip="corners")


def test_lists_of_different_length_are_refused():
    with pytest.raises(ValueError, match="'strides': 5"):
        anchors.default_boxes(GRIDS300, **(SSD300 | {"strides": (8, 16, 32, 64, 100)}))
