"""Affine maps and mosaics against YOLOX's own numbers, and against plain OpenCV."""

import json

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdet.augment import mixed, tiles, warp


@pytest.fixture(scope="module")
def golden(shared):
    return json.loads((shared / "golden" / "yolox" / "schedules.json").read_text())


def test_maps_and_moved_boxes_are_those_of_yolox(golden):
    side = golden["affine"]["target"]
    for draw in golden["affine"]["draws"]:
        shift = np.array(draw["translate"]) * side
        numbers = (draw["angle"], draw["scale"], draw["shear"], shift)
        map = warp.matrix(*(jnp.asarray(x, jnp.float32) for x in numbers))
        np.testing.assert_allclose(map, draw["matrix"], atol=1e-5)
        moved = warp.move_boxes(jnp.asarray(draw["boxes"], jnp.float32), map)
        np.testing.assert_allclose(np.clip(moved, 0, side), draw["moved"], atol=1e-3)


def test_the_pictures_of_a_mosaic_lie_where_yolox_puts_them(golden):
    """Ours are in the middle of letterboxed views of 416; the canvas has twice the side."""
    for each in golden["mosaic"]["places"]:
        width, height = each["size"]
        left, top = (416 - width) // 2, (416 - height) // 2
        extent = jnp.array([left, top, left + width, top + height], jnp.float32)
        point = jnp.array(each["centre"], jnp.float32)
        offset, rectangle = tiles.place(each["tile"], extent, point, canvas=832)
        np.testing.assert_array_equal(rectangle, each["canvas"])
        corner = np.tile(offset + np.array([left, top]), 2)
        np.testing.assert_array_equal(rectangle - corner, each["picture"])


def test_reading_is_that_of_opencv():
    image = np.random.default_rng(0).uniform(0, 255, (40, 40, 3)).astype(np.float32)
    map = warp.matrix(*(jnp.asarray(x) for x in (8.0, 1.3, [2.0, -1.0], [-4.0, 6.0])))
    which = jnp.zeros((40, 40), jnp.int32)
    seen, inside = warp.read(
        image[None], which, warp.sources(map, 40), jnp.array([[0.0, 0, 40, 40]])
    )
    half = np.array([0.5, 0.5])  # OpenCV counts from the middle of the first pixel
    shifted = np.array(map)
    shifted[:, 2] += shifted[:, :2] @ half - half
    mode = dict(flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    expected = cv2.warpAffine(image, shifted, (40, 40), **mode)
    close = np.abs(seen - expected).max(axis=-1) < 8  # it rounds positions to 1/32 pixel
    assert 0.3 < inside.mean() < 1 and close[np.asarray(inside)].all()


def test_a_map_is_drawn_about_the_middle_and_reaches_its_limits():
    limits = dict(rotation=10.0, scale=(0.5, 2.0), shear=0.0, shift=0.1, source=200, target=100)
    maps = np.asarray(warp.draw(jax.random.key(0), 2000, **limits))
    scale = np.sqrt(np.linalg.det(maps[:, :, :2]))
    angle = np.rad2deg(np.arctan2(maps[:, 0, 1], maps[:, 0, 0]))
    middle = maps[:, :, :2] @ np.array([100, 100]) + maps[:, :, 2]
    for values, low, high in ((scale, 0.5, 2), (angle, -10, 10), (middle, 40, 60)):
        spare = 0.01 * (high - low)
        assert (
            low - 1e-3 <= values.min() < low + spare and high - spare < values.max() <= high + 1e-3
        )
        assert abs(values.mean() - (low + high) / 2) < 3 * spare
    with pytest.raises(ValueError, match=r"scale is \(0.0, 1.0\), expected \(low, high\) with 0 <"):
        warp.draw(jax.random.key(0), 1, **(limits | {"scale": (0.0, 1.0)}))


def test_the_picture_of_a_letterboxed_view_is_found():
    pixels = np.random.default_rng(0).uniform(0, 255, (3, 20, 20, 3)).astype(np.float32)
    pixels[0, :4] = pixels[0, 15:] = pixels[1, :, :3] = pixels[2] = (123.0, 117.0, 104.0)
    pixels[0, 8] = (123.0, 117.0, 104.0)  # a line within the picture
    found = mixed.extents(pixels, (123.0, 117.0, 104.0))
    np.testing.assert_array_equal(found, [[0, 4, 20, 15], [3, 0, 20, 20], [0, 0, 20, 20]])
