"""What the functions of `augment/mix.py` share: other images of the batch, and objects of several.

`pixels` are [B, H, H, 3], objects [B, N]; boxes are fractions unless a name says otherwise.
"""

import jax
import jax.numpy as jnp

from jaxdet.augment.window import masked
from jaxdet.boxes.iou import area
from jaxdet.types import Array, Objects


def following(tree, number: int):
    """For every image of the batch the one `number` places further on, from the last to the first.

    `tree` is an array, or a record of arrays, with a leading axis B.
    """
    return jax.tree.map(lambda x: jnp.roll(x, -number, axis=0), tree)


def another(tree):
    """For every image of the batch the fourth after it, or the next if that is itself.

    After a mosaic these have no picture in common, which neighbours have.
    """
    count = len(jax.tree.leaves(tree)[0])
    return following(tree, 4 % count or 1)


def joined(*objects: Objects) -> Objects:
    """The objects [B, N] of several views in one, with the padding last: matching visits all slots
    up to the last object."""
    both = jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), *objects)
    order = jnp.argsort(~both.mask, axis=1, stable=True)
    return jax.vmap(lambda x, order: jax.tree.map(lambda x: x[order], x))(both, order)


def visible(
    objects: Objects, boxes: Array, share: Array, *, min_visible: float, side: int
) -> Objects:
    """The objects [B, N] with what is visible of their boxes [B, N, 4], a `share` [B, N] of each.

    Masked out are those of which less than `min_visible` is left, or that have a side of at most
    one of the view's `side` pixels.
    """
    kept = objects.mask & (share >= min_visible)
    kept &= ((boxes[..., 2:] - boxes[..., :2]) * side > 1).all(axis=-1)
    return masked(objects, boxes, kept)


def clip(boxes: Array, limits: Array) -> Array:
    """Boxes [B, N, 4] cut off at `limits` [B or 1, 1, 4]; those outside become empty."""
    low, high = jnp.tile(limits[..., :2], 2), jnp.tile(limits[..., 2:], 2)
    return jnp.clip(boxes, low, high)


def share(part: Array, whole: Array) -> Array:
    """Which share of boxes [..., 4] their parts are, by area; 0 for empty boxes."""
    return area(part) / jnp.maximum(area(whole), 1e-12)


def extents(pixels: Array, fill: tuple[float, float, float]) -> Array:
    """The smallest rectangles [B, 4] xyxy in pixels with all that is not of the colour `fill`.

    That is the picture in a letterboxed view, since nothing changes the colour of its padding; the
    whole view if it is all padding.
    """
    seen = (pixels != jnp.array(fill)[None, None, None]).any(axis=-1)
    ends = []
    for axis in (1, 2):  # columns, rows
        line = seen.any(axis=axis)
        ends.append((line.argmax(axis=1), line.shape[1] - line[:, ::-1].argmax(axis=1)))
    (x1, x2), (y1, y2) = ends
    return jnp.stack([x1, y1, x2, y2], axis=1).astype(jnp.float32)
