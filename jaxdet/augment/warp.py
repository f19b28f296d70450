"""Affine maps of views: drawing them, moving boxes and reading pixels with them.

A map is a matrix [2, 3] from places (x, y) in one picture to places in another, both in pixels from
the top left corner. Functions are written for one image, except `draw`.
"""

import jax
import jax.numpy as jnp

from jaxdet.types import Array


def draw(
    key: jax.Array,
    count: int,
    *,
    rotation: float,
    scale: tuple[float, float],
    shear: float,
    shift: float,
    source: int,
    target: int,
) -> Array:
    """Random maps [count, 2, 3] of a square of `source` pixels to one of `target` pixels.

    Args:
      rotation: largest angle in degrees, either way.
      scale: range of the factor on lengths; 1 changes none, even if the squares differ.
      shear: largest angle of the shear of either axis in degrees, either way.
      shift: largest shift along either axis, as a fraction of `target`, either way.

    All are drawn uniformly. What is not shifted stays at the middle, as in the code that YOLOX's
    weights were trained with; since 2021-10 its maps keep the top left corner. ValueError for a
    scale that is not positive or whose low end is above its high end.
    """
    low, high = scale
    if not 0 < low <= high:
        raise ValueError(f"scale is {scale}, expected (low, high) with 0 < low <= high")
    draws = jax.random.uniform(key, (count, 6), minval=-1.0)
    angle, size, shear_x, shear_y, shift_x, shift_y = draws.T
    size = low + (size + 1) / 2 * (high - low)
    shears = shear * jnp.stack([shear_x, shear_y], axis=1)
    shifts = shift * target * jnp.stack([shift_x, shift_y], axis=1)
    maps = jax.vmap(matrix)(rotation * angle, size, shears, shifts)
    middle = jnp.full((count, 2), source / 2)
    moved = jax.vmap(_moved)(maps, middle)  # where the middle would be, with the origin fixed
    return maps.at[:, :, 2].add(target / 2 - moved + maps[:, :, 2])


def matrix(angle: Array, scale: Array, shear: Array, shift: Array) -> Array:
    """The map [2, 3] that turns by `angle` about the origin and scales, shears, then shifts.

    Angles are in degrees, a positive one turns to the left; `shear` [2] is that of y and that of x;
    `shift` [2] is in pixels. The rows are those of YOLOX (`get_affine_matrix`, 0.3.0).
    """
    turn, slopes = jnp.deg2rad(angle), jnp.tan(jnp.deg2rad(shear))
    cos, sin = scale * jnp.cos(turn), scale * jnp.sin(turn)
    first, second = jnp.stack([cos, sin]), jnp.stack([-sin, cos])
    linear = jnp.stack([first + slopes[1] * second, second + slopes[0] * first])
    return jnp.concatenate([linear, shift[:, None]], axis=1)


def move_boxes(boxes_pixels: Array, map: Array) -> Array:
    """The hulls [N, 4] of boxes [N, 4] after a map, not clipped."""
    centre = (boxes_pixels[:, :2] + boxes_pixels[:, 2:]) / 2
    half = (boxes_pixels[:, 2:] - boxes_pixels[:, :2]) / 2
    centre = jax.vmap(_moved, (None, 0))(map, centre)
    half = jnp.matmul(half, jnp.abs(map[:, :2]).T, precision=jax.lax.Precision.HIGHEST)
    return jnp.concatenate([centre - half, centre + half], axis=1)


def sources(map: Array, side: int) -> Array:
    """The place [side, side, 2] that every pixel of the result comes from."""
    (a, b, left), (c, d, top) = map
    at = jnp.arange(side) + 0.5
    x, y = (at - left)[None], (at - top)[:, None]
    return jnp.stack([d * x - b * y, a * y - c * x], axis=-1) / (a * d - b * c)


def read(views: Array, which: Array, places: Array, extents: Array) -> tuple[Array, Array]:
    """Reads places of several views, bilinearly with half-pixel centres.

    Args:
      views: [T, S, S, 3].
      which: [h, w] int32, the view that each pixel reads.
      places: [h, w, 2], where in that view.
      extents: [T, 4] xyxy, whole pixels: the part of each view that may be read.

    Returns pixels [h, w, 3], and which of them lie in the extent [h, w]; beyond half a pixel
    outside it its edge is repeated.
    """
    low, high = extents[which][..., :2], extents[which][..., 2:]
    inside = ((places >= low) & (places < high)).all(axis=-1)
    places = jnp.clip(places - 0.5, low, high - 1)
    first = jnp.floor(places)
    share = places - first
    last = jnp.minimum(first + 1, high - 1)
    (x1, y1), (x2, y2) = (jnp.moveaxis(p.astype(jnp.int32), -1, 0) for p in (first, last))
    side = views.shape[1]
    flat = jnp.asarray(views).reshape(-1, 3)
    take = lambda y, x: flat.at[(which * side + y) * side + x].get(mode="promise_in_bounds")
    right, down = share[..., :1], share[..., 1:]
    above = take(y1, x1) * (1 - right) + take(y1, x2) * right
    below = take(y2, x1) * (1 - right) + take(y2, x2) * right
    return above * (1 - down) + below * down, inside


def _moved(map: Array, place: Array) -> Array:
    """A place [2] after a map."""
    return (map[:, :2] * place[None]).sum(axis=1) + map[:, 2]
