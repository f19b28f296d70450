"""Pooling of regions: both forms agree, levels, gradients, regions that are hard to pool."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.test_util import check_grads

from jaxdet import backend
from jaxdet.layers import roi

ALIGN = functools.partial(roi.roi_align, samples=1)  # few, so that it compiles quickly
POOLS = pytest.mark.parametrize("pool", [ALIGN, roi.roi_pool], ids=["align", "pool"])
SLOW = [pytest.param(target, marks=pytest.mark.slow) for target in ("gpu", "tpu")]
TARGETS = pytest.mark.parametrize("target", ["cpu", *SLOW])

BOXES = np.array(  # in cells of a map of 6 x 9
    [
        [1.0, 2.0, 5.5, 4.0],
        [-3.0, -2.5, 2.0, 1.0],  # across a corner
        [0.0, 0.0, 9.0, 6.0],
        [-70.0, -40.0, 95.0, 81.0],  # the map is a speck in it
        [20.0, 3.0, 24.0, 5.0],  # beyond the border
        [4.0, 4.0, 4.0, 4.0],  # empty
        [6.0, 5.0, 2.0, 1.0],  # inverted
        [7.2, 0.3, 7.4, 0.4],
    ],
    np.float32,
)
SIZE = (3, 2)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def both(boxes=BOXES):
    """For two images, the second with the regions in another order."""
    return np.stack([boxes, boxes[::-1]])


def run(pool, x, boxes, target):
    """What is pooled, and the gradient of a weighted sum of it."""

    @jax.jit
    def value_and_gradient(x, boxes):
        y, back = jax.vjp(lambda x: pool(x, boxes), x)
        dy = (1 + jnp.cos(jnp.arange(y.size))).astype(jnp.bfloat16)  # exact in all types
        return y, *back(dy.astype(y.dtype).reshape(y.shape))

    with backend.lowering_for(target):
        return jax.device_get(value_and_gradient(x, boxes))


def agree(found, expected, tolerance=1e-5):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        a, b = (np.asarray(each, np.float32) for each in (a, b))
        assert np.isfinite(a).all()
        np.testing.assert_allclose(a, b, atol=tolerance * max(1, np.abs(b).max()))


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("samples", [1, 2])
def test_products_and_gathers_agree(samples, aligned):
    x = normal(0, 2, 6, 9, 4)
    pool = functools.partial(roi.roi_align, size=SIZE, samples=samples, aligned=aligned)
    products = run(pool, x, both(), "tpu")
    agree(run(pool, x, both(), "cpu"), products)
    agree(run(pool, x, both(), "gpu"), products)


def looped_align(x, box, aligned):
    """RoIAlign of one region by its definition, with as many samples as it needs."""
    low, high = box[[1, 0]] - aligned / 2, box[[3, 2]] - aligned / 2
    sides = high - low if aligned else np.maximum(high - low, 1)
    counts = np.ceil(sides / SIZE).astype(int)
    y = np.zeros((*SIZE, x.shape[-1]))
    for i, j in np.ndindex(*SIZE):
        for a, b in np.ndindex(*np.maximum(counts, 0)):
            at = low + sides * ((i, j) + ((a, b) + np.float64(0.5)) / counts) / SIZE
            if (at < -1).any() or (at > x.shape[:2]).any():
                continue
            at = np.clip(at, 0, np.array(x.shape[:2]) - 1)
            near = [
                np.maximum(1 - np.abs(np.arange(n) - c), 0)
                for n, c in zip(x.shape[:2], at, strict=True)
            ]
            y[i, j] += np.einsum("h,w,hwc->c", *near, x) / counts.prod()
    return y


@pytest.mark.parametrize("aligned", [False, True])
def test_as_many_samples_as_a_region_needs(aligned):
    """Also of a region of which the map is a small part."""
    x = normal(0, 2, 6, 9, 4)
    found = jax.jit(functools.partial(roi.roi_align, size=SIZE, samples=-1, aligned=aligned))
    for image, boxes, y in zip(x, both(), found(x, both()), strict=True):
        expected = [looped_align(image, box.astype(np.float64), aligned) for box in boxes]
        np.testing.assert_allclose(y, expected, atol=1e-5)


def looped_pool(x, box):
    """RoIPool of one region by its definition."""
    left, top, right, bottom = (int(np.trunc(c + np.copysign(0.5, c))) for c in box)
    sides = max(bottom - top + 1, 1), max(right - left + 1, 1)
    y = np.zeros((*SIZE, x.shape[-1]), x.dtype)
    for i, j in np.ndindex(*SIZE):
        cuts = []
        for at, start, side, bins, end in zip(
            (i, j), (top, left), sides, SIZE, x.shape[:2], strict=True
        ):
            low, high = start + at * side // bins, start - (at + 1) * side // -bins
            cuts.append(slice(min(max(low, 0), end), min(max(high, 0), end)))
        if x[*cuts].size:
            y[i, j] = x[*cuts].max((0, 1))
    return y


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_roi_pool_equals_loops(target):
    """Of few different values, so that bins have several maxima: the first gets the gradient."""
    x = np.random.default_rng(0).integers(-3, 3, (2, 6, 9, 4)).astype(np.float32)
    pool = functools.partial(roi.roi_pool, size=SIZE)
    found, gradient = run(pool, x, both(), target)
    for image, boxes, y in zip(x, both(), found, strict=True):
        np.testing.assert_array_equal(y, [looped_pool(image, box) for box in boxes])
    # A little more for earlier cells makes them the only maxima.
    order = -1e-3 * np.arange(54, dtype=np.float32).reshape(1, 6, 9, 1)
    np.testing.assert_allclose(gradient, run(pool, x + order, both(), target)[1], atol=1e-5)


@TARGETS
@POOLS
def test_gradients_are_numerical_ones(pool, target):
    with jax.enable_x64(True), backend.lowering_for(target):
        x, boxes = normal(0, 1, 6, 9, 2).astype(np.float64), BOXES[None]
        function = jax.jit(lambda x: pool(x, boxes, size=SIZE))
        assert function(x).dtype == np.float64
        check_grads(function, (x,), order=1, modes=["rev"], atol=1e-7, rtol=1e-7)


@TARGETS
@POOLS
def test_bfloat16(pool, target):
    """Gradients are summed in float32: in bfloat16 the sum of 600 ones would stop at 256."""
    x = jnp.asarray(normal(0, 2, 6, 9, 4), jnp.bfloat16)
    boxes = np.concatenate([both(), np.broadcast_to(np.float32([2, 2, 3, 3]), (2, 600, 4))], 1)
    found, gradient = run(functools.partial(pool, size=SIZE), x, boxes, target)
    assert found.dtype == gradient.dtype == jnp.bfloat16
    expected = run(functools.partial(pool, size=SIZE), x.astype(jnp.float32), boxes, target)
    agree((found, gradient), expected, 0.02)


@POOLS
def test_regions_take_no_gradient(pool):
    total = jax.jit(jax.grad(lambda boxes, x: pool(x, boxes, size=SIZE).sum()))
    assert not total(both(), normal(0, 2, 6, 9, 4)).any()


SHAPE, STRIDES = (96, 128), (8, 16, 32)


def pyramid(dtype=jnp.float32):
    return [jnp.asarray(normal(s, 2, SHAPE[0] // s, SHAPE[1] // s, 4), dtype) for s in STRIDES]


def fractions():
    """Regions in all levels, and some across the border, as fractions of the input."""
    pixels = [[8, 8, 60, 70], [0, 0, 128, 96], [-300, -200, 300, 300], [-90, -80, 200, 150]]
    pixels += [[40, 40, 40, 60], [100, 90, 140, 120], [0, 0, 224, 224], [0, 0, 448, 448]]
    return both(np.array(pixels, np.float32) / np.float32([*SHAPE[::-1]] * 2))


@TARGETS
@POOLS
def test_every_region_is_pooled_from_its_level(pool, target):
    pool, boxes = functools.partial(pool, size=SIZE), fractions()
    pixels = boxes * np.float32([*SHAPE[::-1]] * 2)
    levels = np.asarray(roi.levels_of(pixels, STRIDES))
    assert set(levels.flat) == {0, 1, 2}

    def by_hand(maps, _):
        every = [pool(x, pixels / stride) for x, stride in zip(maps, STRIDES, strict=True)]
        return jnp.take_along_axis(jnp.stack(every), levels[None, ..., None, None, None], 0)[0]

    together = functools.partial(roi.pool_levels, shape=SHAPE, strides=STRIDES, pool=pool)
    agree(run(together, pyramid(), boxes, target), run(by_hand, pyramid(), boxes, target))


def test_maps_of_one_stride_leave_all_to_the_first():
    maps = [jnp.asarray(normal(i, 2, 3, 4, 4)) for i in range(2)]
    found = roi.pool_levels(maps, fractions(), shape=SHAPE, strides=(32, 32))
    cells = fractions() * np.float32([4, 3, 4, 3])
    np.testing.assert_allclose(found, roi.roi_align(maps[0], cells), atol=1e-5)


def test_maps_without_a_level_or_stride_are_refused():
    with pytest.raises(ValueError, match="there are 3 maps, but 2 strides"):
        roi.pool_levels(pyramid(), fractions(), shape=SHAPE, strides=(8, 16))
    with pytest.raises(ValueError, match="there are 3 maps, and no `level`"):
        roi.roi_align(pyramid(), both())


@TARGETS
def test_images_on_two_devices(target):
    """Sharded over images, nothing changes."""
    mesh = Mesh(np.array(jax.devices()[:2]), ("data",))
    place = NamedSharding(mesh, PartitionSpec("data"))
    pool = functools.partial(roi.pool_levels, shape=SHAPE, strides=STRIDES, pool=ALIGN)
    expected = run(pool, pyramid(), fractions(), target)
    agree(run(pool, *jax.device_put((pyramid(), fractions()), place), target), expected)
