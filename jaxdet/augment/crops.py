"""Random windows: `augment.window` in a recipe names a function in this file.

Each takes a key, the size [2] of an image in pixels, its objects [N], the window that shows it
uncropped, and whether views keep its aspect, and returns the window that a view shows.
"""

import jax
import jax.numpy as jnp

from jaxdet.augment.window import Window, centre_inside, to_image
from jaxdet.boxes.iou import pairwise_iou
from jaxdet.types import Array, Objects

SMALLEST_SIDE = 0.3  # of a cropped patch, as a fraction of the image's side
LARGEST_ASPECT = 2.0  # of a cropped patch, in pixels; the smallest is its inverse
TRIALS = 50  # patches drawn; each mode takes the first that fits


def expand_and_crop(
    key: jax.Array,
    size: Array,
    objects: Objects,
    uncropped: Window,
    keep_aspect: bool,
    *,
    expand_probability: float = 0.5,
    expand_max: float = 4.0,
    crop_min_ious: tuple[float, ...] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9),
    mirror_probability: float = 0.5,
) -> Window:
    """SSD's random window (section 2.2): zoom out, then crop a patch, then flip.

    Args:
      expand_probability: probability of zooming out by a factor drawn from 1 to `expand_max`.
      crop_min_ious: one crop mode each: some object's IoU with the patch is at least this (0 for
        any patch). No crop is always one more mode, and the only one if no other is possible.
      mirror_probability: probability of flipping left to right.

    Zooming out and cropping apply to the `uncropped` window, whose patches have its shape if views
    `keep_aspect`. ValueError for an `expand_max` below 1.
    """
    if expand_max < 1:
        raise ValueError(f"expand_max is {expand_max}, expected at least 1")
    expand_key, crop_key, mirror_key = jax.random.split(key, 3)
    frame = _expand(expand_key, expand_probability, expand_max)
    frame = to_image(frame[None], uncropped)[0]
    box = _crop(crop_key, frame, size, objects, jnp.array(crop_min_ious), similar=keep_aspect)
    return Window(box=box, mirror=jax.random.bernoulli(mirror_key, mirror_probability))


def _expand(key: jax.Array, probability: float, largest: float) -> Array:
    """A square frame [4] that contains the unit square at a random place."""
    coin, stretch, x, y = jax.random.uniform(key, (4,))
    ratio = jnp.where(coin < probability, 1 + stretch * (largest - 1), 1.0)
    corner = jnp.stack([x, y]) * (1 - ratio)
    return jnp.concatenate([corner, corner + ratio])


def _crop(
    key: jax.Array, frame: Array, size: Array, objects: Objects, min_ious: Array, *, similar: bool
) -> Array:
    """A patch [4] of the frame, from a mode drawn uniformly among those that some trial fits.

    SSD's own code chooses in the same way: a patch for each mode that finds one, then one of these.
    Fractions can replace pixels here, since stretching an axis does not change the IoU.
    """
    trial_key, mode_key = jax.random.split(key)
    patches, fits = _patches(trial_key, frame, size, similar=similar)  # [T, 4], [T]
    fits &= (centre_inside(patches, objects.boxes) & objects.mask[None]).any(axis=1)
    ious = jnp.where(objects.mask[None], pairwise_iou(patches, objects.boxes), 0.0)
    accepted = fits[None] & (ious.max(axis=1, initial=0.0)[None] >= min_ious[:, None])  # [modes, T]
    choices = jnp.concatenate([patches[accepted.argmax(axis=1)], frame[None]])  # the frame: no crop
    possible = jnp.append(accepted.any(axis=1), True)
    order = jnp.where(possible, jax.random.uniform(mode_key, possible.shape), -1.0)
    return choices[order.argmax()]


def _patches(key: jax.Array, frame: Array, size: Array, *, similar: bool) -> tuple[Array, Array]:
    """Random patches [T, 4] of the frame, and which of them have an allowed aspect ratio [T].

    With `similar` they have the shape of the frame.
    """
    size_draw, place_draw = jax.random.uniform(key, (2, TRIALS, 2))  # x, y
    if similar:
        size_draw = jnp.repeat(size_draw[:, :1], 2, axis=1)
    side = SMALLEST_SIDE + size_draw * (1 - SMALLEST_SIDE)
    corner = place_draw * (1 - side)
    patches = jnp.concatenate([corner, corner + side], axis=1)
    patches = to_image(patches, Window(box=frame, mirror=jnp.array(False)))
    if similar:
        return patches, jnp.full(TRIALS, True)
    aspect = side[:, 1] * size[0] / (side[:, 0] * size[1])
    return patches, (aspect >= 1 / LARGEST_ASPECT) & (aspect <= LARGEST_ASPECT)
