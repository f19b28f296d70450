"""Bad boxes, sizes, names and pictures: each is mended, skipped with a reason, or an error."""

import dataclasses

import cv2
import numpy as np
import pytest
from tiny_sets import jpeg, picture, with_orientation

from jaxdet.data.check import OTHER_SIZE, RESIZED, Example, check
from jaxdet.data.decode import decode_full

CLASSES = ("cat", "dog")


def unchecked(boxes, *, names=None, encoded=None, size=(20, 40), area=None) -> Example:
    n = len(boxes)
    return Example(
        id="a",
        file="a.xml",
        encoded=jpeg(picture(20, 40)) if encoded is None else encoded,
        size=size,
        boxes=np.array(boxes, np.float64).reshape(-1, 4),
        names=names or ["dog"] * n,
        difficult=np.arange(n) % 2 == 1,
        crowd=np.arange(n) % 3 == 1,
        area=np.full(n, np.nan) if area is None else np.array(area),
    )


def test_good_boxes_pass_unchanged():
    checked = check(unchecked([[0, 0.25, 0.5, 1]], names=["cat"]), CLASSES)
    annotation = checked.annotation
    assert checked.problems == []
    assert (annotation.id, annotation.height, annotation.width) == ("a", 20, 40)
    assert annotation.boxes.dtype == np.float32 and annotation.labels.dtype == np.int32
    np.testing.assert_array_equal(annotation.boxes, [[0, 0.25, 0.5, 1]])
    assert annotation.labels.tolist() == [0]
    assert annotation.area.tolist() == [0.5 * 40 * 0.75 * 20]  # of the box, in pixels


def test_bad_boxes_are_left_out_with_a_reason_and_the_rest_keeps_its_columns():
    boxes = [
        [0.5, 0.1, 0.5, 0.9],  # no width
        [0.1, 0.9, 0.5, 0.1],  # upside down
        [0.1, 0.1, 0.5, 0.5],
        [1.0, 0.0, 1.5, 0.5],  # to the right of the picture
        [-0.5, 0.0, 0.0, 0.5],  # to the left
        [np.nan, 0.0, 0.5, 0.5],
        [0.2, 0.2, 0.3, np.inf],
        [0.0, 0.0, 1.0, 1.0],
    ]
    area = [1, 2, 3, 4, 5, 6, 7, 8]
    names = ["cat", "cat", "dog", "cat", "cat", "cat", "cat", "cat"]
    checked = check(unchecked(boxes, names=names, area=area), CLASSES)
    annotation = checked.annotation
    np.testing.assert_array_equal(
        annotation.boxes, np.array([boxes[2], boxes[7]], np.float32), strict=True
    )
    assert annotation.labels.tolist() == [1, 0] and annotation.area.tolist() == [3, 8]
    assert annotation.difficult.tolist() == [False, True]  # of objects 2 and 7
    assert annotation.crowd.tolist() == [False, True]
    counts = {reason: checked.problems.count(reason) for reason in checked.problems}
    assert counts == {
        "box is not finite": 2,
        "box is empty (x2 <= x1 or y2 <= y1)": 2,
        "box lies outside the image": 2,
    }


def test_boxes_over_the_border_are_clipped_and_counted_beyond_one_pixel():
    one_pixel_over = [-1 / 40, 0, 0.5, 1 + 1 / 20]
    checked = check(unchecked([[-0.5, 0.2, 0.5, 1.5], one_pixel_over]), CLASSES)
    expected = np.array([[0, 0.2, 0.5, 1], [0, 0, 0.5, 1]], np.float32)
    np.testing.assert_array_equal(checked.annotation.boxes, expected)
    assert checked.problems == ["box crosses the border, clipped"]


def test_picture_without_boxes_is_kept():
    annotation = check(unchecked([]), CLASSES).annotation
    assert annotation.boxes.shape == (0, 4) and annotation.labels.shape == (0,)


def test_unknown_class_names_the_file_the_class_and_the_nearest():
    with pytest.raises(ValueError, match="a.xml: unknown class 'dgo'.*'dog'"):
        check(unchecked([[0, 0, 1, 1]], names=["dgo"]), CLASSES)


def test_missing_and_broken_pictures_are_skipped_with_a_reason():
    missing = unchecked([[0, 0, 1, 1]])
    missing = Example(**{**vars(missing), "encoded": None})
    assert check(missing, CLASSES).annotation is None
    assert check(missing, CLASSES).problems == ["image file is missing"]
    for broken in (b"", b"text", jpeg(picture(20, 40))[:-30]):
        checked = check(unchecked([[0, 0, 1, 1]], encoded=broken), CLASSES)
        assert checked.annotation is None
        assert checked.problems[0].startswith("image cannot be decoded: ")


@pytest.mark.parametrize("size", [(30, 40), (40, 20)])  # the second is the image on its side
def test_pixels_of_another_size_are_those_of_the_image_or_scaled(size):
    example = dataclasses.replace(unchecked([[4, 5, 8, 10]], size=size), pixels=True)
    checked = check(example, CLASSES)
    np.testing.assert_allclose(checked.annotation.boxes, [[0.1, 0.25, 0.2, 0.5]], rtol=1e-6)
    assert checked.problems == [OTHER_SIZE]
    checked = check(example, CLASSES, resized=True)
    height, width = size
    expected = [[4 / width, 5 / height, 8 / width, 10 / height]]
    np.testing.assert_allclose(checked.annotation.boxes, expected, rtol=1e-6)
    assert checked.problems == [RESIZED]


def test_a_12_bit_image_in_16_bits_is_named():
    png = lambda top: cv2.imencode(".png", np.linspace(0, top, 60).reshape(6, 10).astype("u2"))[1]
    problems = lambda top: (
        check(unchecked([], encoded=png(top).tobytes(), size=None), CLASSES).problems
    )
    assert problems(65535) == [] and "it will be dark" in problems(4095)[-1]


def test_unknown_size_is_taken_from_the_picture():
    annotation = check(unchecked([[0, 0, 1, 1]], size=None), CLASSES).annotation
    assert (annotation.height, annotation.width) == (20, 40)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_boxes_of_a_turned_picture_are_turned_with_it(orientation):
    """A red box on a dark stored picture; upright, the box must still hold all the red."""
    stored = picture(20, 40) // 8
    stored[2:8, 4:16] = (250, 10, 10)
    box = [4 / 40, 2 / 20, 16 / 40, 8 / 20]
    encoded = with_orientation(jpeg(stored), orientation)
    checked = check(unchecked([box], encoded=encoded, size=(20, 40)), CLASSES)
    annotation = checked.annotation
    assert (annotation.height, annotation.width) == (40, 20)
    red = decode_full(encoded)[..., 0] > 150
    y, x = np.nonzero(red)
    held = [x.min() / 20, y.min() / 40, (x.max() + 1) / 20, (y.max() + 1) / 40]
    np.testing.assert_allclose(annotation.boxes[0], held, atol=1e-6)
    assert checked.problems == ["image has an EXIF rotation, its boxes are rotated with it"]


def test_boxes_made_on_the_upright_picture_stay():
    encoded = with_orientation(jpeg(picture(20, 40)), 6)
    checked = check(unchecked([[0.1, 0.2, 0.3, 0.4]], encoded=encoded, size=(40, 20)), CLASSES)
    np.testing.assert_allclose(checked.annotation.boxes, [[0.1, 0.2, 0.3, 0.4]], rtol=1e-6)
    assert checked.problems == []
