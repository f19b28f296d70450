"""The generated set: the same every time, boxes that fit, nothing hidden."""

import pathlib

import numpy as np
import pytest

from jaxdet import data
from jaxdet.data import shapes


@pytest.fixture
def dir(tmp_path) -> pathlib.Path:
    return tmp_path / "prepared"


def test_shapes_are_drawn_alike_again_and_fit_their_boxes():
    for number in range(20):
        image, boxes, labels = shapes.draw(np.random.default_rng([9, number]))
        again, boxes_again, labels_again = shapes.draw(np.random.default_rng([9, number]))
        assert (image == again).all() and (boxes == boxes_again).all() and labels == labels_again
        height, width = image.shape[:2]
        assert image.dtype == np.uint8 and 1 <= len(labels) == len(boxes) <= 7
        assert (boxes >= 0).all() and (boxes <= [width, height, width, height]).all()
        assert ((boxes[:, 2:] - boxes[:, :2]) >= 8).all()


@pytest.mark.parametrize("name", shapes.CLASSES)
def test_box_of_a_shape_is_as_tight_as_what_is_drawn(name):
    rng = np.random.default_rng(3)
    for _ in range(20):
        outline = shapes._outline(rng, name, size=60)
        shift = rng.uniform(50, 60, 2)
        cover = shapes._rasterise([contour + shift for contour in outline], 120, 120)
        y, x = np.nonzero(cover > 0.5)
        box = np.concatenate([outline[0].min(0) + shift, outline[0].max(0) + shift])
        drawn = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])
        # Half a pixel of rounding, and the tip of a triangle fades below half.
        assert np.abs(box - drawn).max() < 2.5


def test_shapes_are_nowhere_hidden_for_more_than_a_third():
    rng = np.random.default_rng(0)
    for _ in range(10):
        seen, whole = np.full((200, 300), -1, np.int8), []
        for _ in range(12):
            if (placed := shapes._place(rng, "square", seen, whole)) is not None:
                cover, window, _ = placed
                seen[window][cover > 0.5] = len(whole)
                whole.append(np.count_nonzero(cover > 0.5))
        visible = np.bincount(seen[seen >= 0], minlength=len(whole))
        assert (visible >= 0.65 * np.array(whole)).all() and len(whole) > 3


def test_shapes_set(dir):
    dataset = data.open("shapes_val", dir=dir)
    assert len(dataset) == 200 and dataset.classes == shapes.CLASSES
    assert "shapes_val: 200 pictures" in dataset.summary()
    assert np.bincount(dataset.table.labels).min() > 80
