"""Pools features of regions: RoIAlign and RoIPool, from one map or from the levels of a pyramid.

Maps are [B, H, W, C], regions [B, R, 4], x1 y1 x2 y2. No gradient flows to the regions.
"""

import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

from jaxdet import backend
from jaxdet.layers import roi_rows
from jaxdet.layers.precision import full

Maps = jax.Array | Sequence[jax.Array]


def roi_align(
    x: Maps,
    boxes: jax.Array,
    *,
    size: tuple[int, int] = (7, 7),
    samples: int = 2,
    aligned: bool = False,
    level: jax.Array | None = None,
) -> jax.Array:
    """The mean of bilinear samples in each of h x w bins of every region: [B, R, h, w, C].

    Mask R-CNN (He et al. 2017, arXiv:1703.06870, section 3), as torchvision computes it. `boxes`
    [B, R, 4] are in cells of the map. A bin has `samples` x `samples` of them, or as many as are
    at most a cell apart if `samples` is 0 or -1. Cells are points at whole numbers, or with
    `aligned` at halves; without it a side is at least one cell. Samples more than a cell outside
    the map are zero. `x` is a map, or several of them with `level` [B, R], the one of each region.

    On a TPU, and for regions that differ in their number of samples, it is two products with
    matrices of weights, [h, H] and [w, W]; elsewhere rows of C features are gathered.
    """
    maps, level = _several(x, boxes, level)
    boxes = full(lax.stop_gradient(boxes)) - (0.5 if aligned else 0.0)
    ends = [(boxes[..., i], boxes[..., i + 2]) for i in (1, 0)]  # along y, along x
    if not aligned:
        ends = [(low, jnp.maximum(high, low + 1)) for low, high in ends]
    form = _products if samples <= 0 or backend.target() == "tpu" else _rows
    return form(maps, ends, level, size, samples)


def roi_pool(
    x: Maps, boxes: jax.Array, *, size: tuple[int, int] = (7, 7), level: jax.Array | None = None
) -> jax.Array:
    """The maximum of the cells in each of h x w bins of every region: [B, R, h, w, C].

    Fast R-CNN (Girshick 2015, arXiv:1504.08083, section 2.1), as torchvision computes it: corners
    are rounded to whole cells, both of which count, and bins to all cells that they touch. A bin
    without cells is zero. Of equal maxima the first, row by row, gets the gradient. `x`, `boxes`
    and `level` are those of `roi_align`.
    """
    maps, level = _several(x, boxes, level)
    corners = _rounded(full(lax.stop_gradient(boxes)))
    places = roi_rows.places(maps, level)
    axes = []
    for i, side in ((1, places.height), (0, places.width)):
        axes.append(_bins(corners[..., i], corners[..., i + 2], size[1 - i], side))
    (top, rows), (left, columns) = axes
    start = places.offset[..., None] + top * places.width[..., None]
    bins = roi_rows.Bins(start, rows, left, columns, places.width)
    return roi_rows.maxima(roi_rows.table(maps), bins)


def pool_levels(
    maps: Sequence[jax.Array],
    boxes: jax.Array,
    *,
    shape: tuple[int, int],
    strides: tuple[int, ...],
    pool: Callable[..., jax.Array] = roi_align,
) -> jax.Array:
    """Every region pooled from the map that `levels_of` says: [B, R, h, w, C].

    `boxes` [B, R, 4] are fractions of an input of `shape` (height, width) pixels; `pool` is one of
    the functions above, with its options. ValueError unless there is a map for every stride.
    """
    if len(maps) != len(strides):
        raise ValueError(f"there are {len(maps)} maps, but {len(strides)} strides: {strides}")
    boxes = full(lax.stop_gradient(boxes))
    pixels = boxes * jnp.array([[[shape[1], shape[0]] * 2]], boxes.dtype)
    level = levels_of(pixels, strides)
    cells = pixels / jnp.array(strides, boxes.dtype)[level][..., None]
    return pool(maps, cells, level=level)


def levels_of(boxes_pixels: jax.Array, strides: tuple[int, ...]) -> jax.Array:
    """The map that each region [..., 4] in pixels is pooled from: [...], int32, 0 the first.

    That of stride 16 for a square of 224 pixels, of twice the stride for twice the side, rounded
    down (FPN, Lin et al. 2017, arXiv:1612.03144, section 4.2, equation 1).
    """
    sides = jnp.maximum(boxes_pixels[..., 2:] - boxes_pixels[..., :2], 0)
    exact = 4 + jnp.log2(jnp.sqrt(sides[..., 0] * sides[..., 1]) / 224) + 1e-6
    first, last = (round(math.log2(strides[i])) for i in (0, -1))
    return jnp.clip(jnp.floor(exact), first, last).astype(jnp.int32) - first


def _several(x, boxes, level):
    maps = (x,) if hasattr(x, "shape") else tuple(x)
    if level is None:
        if len(maps) > 1:
            raise ValueError(f"there are {len(maps)} maps, and no `level` of the regions")
        level = jnp.zeros(boxes.shape[:2], jnp.int32)
    return maps, level


def _rows(maps, ends, level, size, samples):
    """RoIAlign as a weighted sum of rows of the maps."""
    places = roi_rows.places(maps, level)
    sides = places.height, places.width
    axes = [_corners(*e, n, samples, s) for e, n, s in zip(ends, size, sides, strict=True)]
    (y, y_weights), (x, x_weights) = axes
    start = places.offset[..., None, None] + y * places.width[..., None, None]
    y_weights, x_weights = (w.astype(full(maps[0]).dtype) for w in (y_weights, x_weights))
    taps = roi_rows.Taps(start, y_weights, x, x_weights)
    return roi_rows.weighted(roi_rows.table(maps), taps)


def _corners(low, high, bins, samples, side):
    """The cells on both sides of every sample along one axis, and their shares of a bin's mean.

    Both [B, R, bins, 2 samples].
    """
    low, high, side = (a[..., None, None] for a in (low, high, side))
    bin_, sample = jnp.indices((1, 1, bins, samples), low.dtype)[2:]
    point, inside = _point(low, high, bin_, sample, bins, samples, side)
    cell = jnp.floor(point).astype(jnp.int32)
    after = jnp.where(inside, point - cell, 0) / samples
    before = jnp.where(inside, 1 - (point - cell), 0) / samples
    cells = jnp.concatenate([cell, jnp.minimum(cell + 1, side - 1)], -1)
    return cells, jnp.concatenate([before, after], -1)


def _point(low, high, bin_, sample, bins, count, side):
    """Where a sample lies along one axis, clamped to the cells, and whether it counts.

    Compared in parts of a cell, so that nothing is divided: XLA would multiply by the reciprocal,
    and whole numbers, where samples start to count, would not stay whole.
    """
    parts = bins * count
    place = low * parts + (high - low) * (bin_ * count + sample + 0.5)
    inside = (place >= -parts) & (place <= side * parts)
    return jnp.clip(place / parts, 0, side - 1), inside


def _products(maps, ends, level, size, samples):
    """RoIAlign as products of matrices: of every map, with weights of zero for other maps."""
    total = 0
    for i, x in enumerate(maps):
        of_axes = [
            _weights(*e, n, samples, s) for e, n, s in zip(ends, size, x.shape[1:3], strict=True)
        ]
        rows = jnp.where((level == i)[..., None, None], of_axes[0], 0).astype(x.dtype)
        product = functools.partial(jnp.einsum, preferred_element_type=full(x).dtype)
        part = product("brih,bhwc->briwc", rows, x).astype(x.dtype)
        total += product("brjw,briwc->brijc", of_axes[1].astype(x.dtype), part)
    return total.astype(maps[0].dtype)


def _weights(low, high, bins, samples, side):
    """The share [B, R, bins, side] of every cell of an axis in the mean of every bin.

    With as many samples as a region needs these are more than half a cell apart, if a bin has
    several: at most six can lie within a cell of any cell, however large the region is.
    """
    low, high = low[..., None, None], high[..., None, None]
    bin_, cell = jnp.indices((1, 1, bins, side), low.dtype)[2:]
    count, first, rounds = samples, 0, samples
    if samples <= 0:
        bin_side = (high - low) / bins
        count = jnp.ceil(bin_side)
        count -= (count - 1) * bins >= high - low  # where the division rounded up
        each = jnp.maximum(bin_side, 0.5) / jnp.maximum(count, 1)
        nearest = (cell - 1 - low - bin_ * bin_side) / each - 0.5
        first, rounds = jnp.clip(jnp.floor(nearest), 0, jnp.maximum(count, 0)), 6
    divisor, total = jnp.maximum(count, 1), 0
    for i in range(rounds):
        point, inside = _point(low, high, bin_, first + i, bins, divisor, side)
        share = jnp.maximum(1 - jnp.abs(point - cell), 0)
        total += jnp.where(inside & (first + i < count), share, 0)
    return total / divisor


def _rounded(x: jax.Array) -> jax.Array:
    """x rounded to whole numbers, halves away from zero, as C does."""
    size = jnp.abs(x)
    whole = jnp.floor(size)
    return jnp.sign(x) * (whole + (size - whole >= 0.5))


def _bins(low, high, bins, side):
    """The first cell of each bin along one axis and the number of its cells, [B, R, bins] int32."""
    low, high = (jnp.clip(a, -(2**24), 2**24).astype(jnp.int32)[..., None] for a in (low, high))
    region, last = jnp.maximum(high - low + 1, 1), side[..., None]
    at = jnp.arange(bins)[None, None]
    start = jnp.clip(low + at * region // bins, 0, last)
    end = jnp.clip(low - (at + 1) * region // -bins, 0, last)  # rounded up
    return start, jnp.maximum(end - start, 0)
