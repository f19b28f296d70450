"""Colour distortion: against OpenCV, and its choices against their probabilities."""

from functools import partial

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdet.augment import colour

KEYS = 3000
STILL = {
    "brightness": 0.0,
    "contrast": (1.0, 1.0),
    "saturation": (1.0, 1.0),
    "hue": 0.0,
    "swap_probability": 0.0,
}


def turn_by_opencv(pixels, degrees, saturation):
    hsv = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + degrees) % 360
    hsv[..., 1] *= saturation
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


@pytest.mark.parametrize(("degrees", "saturation"), [(0, 1), (17.5, 0.5), (-18, 1.5), (150, 1.2)])
def test_hue_and_saturation_are_those_of_opencv(degrees, saturation):
    pixels = np.random.default_rng(0).uniform(0, 255, (40, 30, 3)).astype(np.float32)
    pixels[0] = np.round(pixels[0] / 64) * 64  # many ties
    pixels[1] = pixels[1, :, :1]  # grey
    pixels[2] = 0
    turned = jax.jit(colour._turn_hue)(
        pixels, jnp.float32(degrees / 60), jnp.float32(saturation), jnp.arange(3)
    )
    np.testing.assert_allclose(turned, turn_by_opencv(pixels, degrees, saturation), atol=2e-3)


def test_contrast_before_or_after_is_the_same():
    """The reason why `distort` does without SSD's coin for the place of contrast."""
    pixels = np.random.default_rng(1).uniform(0, 255, (20, 20, 3)).astype(np.float32)
    before = turn_by_opencv(pixels * np.float32(0.6), 12, 1.4)
    after = turn_by_opencv(pixels, 12, 1.4) * 0.6
    np.testing.assert_allclose(before, after, atol=2e-3)


@partial(jax.jit, static_argnames=tuple(STILL))
def distort_one(keys, pixels, **choices):
    return jax.vmap(lambda key: colour.distort(key, pixels, **choices))(keys)


def distort_many(pixel: tuple[float, float, float], **choices) -> np.ndarray:
    """One pixel distorted with many keys: [KEYS, 3]."""
    keys = jax.random.split(jax.random.key(5), KEYS)
    pixels = np.array([[pixel]], np.float32)
    return np.asarray(distort_one(keys, pixels, **STILL | choices))[:, 0, 0]


def test_without_choices_colours_stay():
    out = distort_many((10.0, 200.0, 90.0))
    np.testing.assert_allclose(out, np.tile([10.0, 200.0, 90.0], (KEYS, 1)), atol=1e-4)


def assert_half_drawn(values: np.ndarray, neutral: float, low: float, high: float) -> None:
    """Half of the values are neutral, the others uniform from low to high."""
    drawn = values[np.abs(values - neutral) > 1e-4]
    assert abs(len(drawn) / KEYS - 0.5) < 0.03
    assert drawn.min() >= low - 1e-3 and drawn.max() <= high + 1e-3
    quarters = np.histogram(drawn, bins=4, range=(low - 1e-3, high + 1e-3))[0] / len(drawn)
    assert np.abs(quarters - 0.25).max() < 0.04


def test_brightness_shifts_every_channel():
    shift = distort_many((100.0, 150.0, 120.0), brightness=32.0) - [100.0, 150.0, 120.0]
    assert np.ptp(shift, axis=1).max() < 1e-3
    assert_half_drawn(shift[:, 0], 0.0, -32.0, 32.0)


def test_contrast_scales_every_channel():
    factor = distort_many((100.0, 150.0, 120.0), contrast=(0.5, 1.5)) / [100.0, 150.0, 120.0]
    assert np.ptp(factor, axis=1).max() < 1e-5
    assert_half_drawn(factor[:, 0], 1.0, 0.5, 1.5)


def test_saturation_scales_the_distance_to_the_largest():
    out = distort_many((150.0, 100.0, 120.0), saturation=(0.5, 1.5))
    np.testing.assert_allclose(out[:, 0], 150, atol=1e-4)
    factor = (150 - out[:, 1:]) / [50.0, 30.0]
    assert np.ptp(factor, axis=1).max() < 1e-4
    assert_half_drawn(factor[:, 0], 1.0, 0.5, 1.5)


def test_hue_turns_in_degrees():
    out = distort_many((200.0, 100.0, 150.0), hue=18.0)
    hue = cv2.cvtColor(out[None].astype(np.float32), cv2.COLOR_RGB2HSV)[0, :, 0]
    assert_half_drawn((hue - 330 + 180) % 360 - 180, 0.0, -18.0, 18.0)


def test_channels_are_swapped_in_all_orders():
    out = distort_many((10.0, 200.0, 90.0), swap_probability=0.5).round().astype(int)
    orders, counts = np.unique(out, axis=0, return_counts=True)
    assert len(orders) == 6
    same = (orders == [10, 200, 90]).all(axis=1)
    assert abs(counts[same][0] / KEYS - 7 / 12) < 0.03
    assert np.abs(counts[~same] / KEYS - 1 / 12).max() < 0.02


def test_colours_are_clipped():
    out = distort_many((2.0, 254.0, 100.0), brightness=60.0, contrast=(0.5, 2.0))
    assert out.min() == 0 and out.max() == 255


@pytest.mark.parametrize("name", ["contrast", "saturation"])
def test_a_range_that_ends_before_it_begins_is_refused(name):
    with pytest.raises(ValueError, match=rf"{name} is \(1.5, 0.5\), expected \(low, high\)"):
        distort_many((10.0, 200.0, 90.0), **{name: (1.5, 0.5)})
