"""Mixing the images of a batch: `augment.mix` in a recipe names functions in this file.

Each takes a key, pixels [B, H, H, 3] and objects [B, N], and returns them mixed; the number of
object slots may grow, and the padding comes last. The others that an image is mixed with are among
the four that follow it in the batch.

Where something hides or cuts off a part of an object, its box is that of the visible part, and it
is dropped if that is less than `min_visible` of the box or at most one pixel wide or high. `fill`
is the colour outside the pictures, of letterboxed views too (in a recipe: the detector's).
"""

import jax
import jax.numpy as jnp

from jaxdet.augment import mixed, tiles, warp
from jaxdet.types import Array, Objects

_GREY = (114.0, 114.0, 114.0)


def mixup(
    key: jax.Array, pixels: Array, objects: Objects, *, alpha: float = 1.5
) -> tuple[Array, Objects]:
    """Blends every image with the next one in the batch, and keeps the objects of both, 2N slots.

    An image's share is drawn from Beta(alpha, alpha) and becomes the weight of its objects' losses;
    the rest is the weight of the other's (Zhang et al. 2019, arXiv:1902.04103, section 3.1).
    """
    share = jax.random.beta(key, alpha, alpha, (len(pixels),))  # [B]
    own = share.reshape(-1, 1, 1, 1)
    blend = own * pixels + (1 - own) * mixed.following(pixels, 1)
    weigh = lambda objects, share: objects.replace(weight=objects.weight * share[:, None])
    return blend, mixed.joined(weigh(objects, share), weigh(mixed.following(objects, 1), 1 - share))


def mixup_yolox(
    key: jax.Array,
    pixels: Array,
    objects: Objects,
    *,
    scale: tuple[float, float] = (0.5, 1.5),
    min_visible: float = 0.3,
) -> tuple[Array, Objects]:
    """Blends every image half and half with another, resized and moved; 2N slots.

    The other is scaled by a factor from `scale`, and placed at random so that it fills the view, or
    lies in it on black if it is smaller. The objects of both keep their weight (YOLOX, Ge et al.
    2021, arXiv:2107.08430, section 2; windows have already flipped the images).
    """
    side = pixels.shape[1]
    scale_key, place_key = jax.random.split(key)
    still = dict(rotation=0.0, shear=0.0, shift=0.0, source=side, target=side)
    maps = warp.draw(scale_key, len(pixels), scale=scale, **still)
    room = (1 - maps[:, 0, 0]) * side / 2  # [B] from the middle to where the borders meet
    place = jax.random.uniform(place_key, (len(pixels), 2), minval=-1.0)
    maps = maps.at[:, :, 2].add(room[:, None] * place)
    other, others = _warped(
        *mixed.another((pixels, objects)),
        maps,
        min_visible=min_visible,
        fill=(0.0, 0.0, 0.0),
    )
    return (pixels + other) / 2, mixed.joined(objects, others)


def cutmix(
    key: jax.Array, pixels: Array, objects: Objects, *, min_visible: float = 0.3
) -> tuple[Array, Objects]:
    """Pastes a rectangle of another image over every image, at the same place; 2N slots.

    The rectangle has the view's shape, a share of its area drawn uniformly and a uniform centre; it
    is cut off at the borders (Yun et al. 2019, arXiv:1905.04899, section 3.1; here every image has
    its own). An object beneath it gets a smaller box if what is left of its own is a rectangle.
    """
    count, side = pixels.shape[:2]
    share_key, place_key = jax.random.split(key)
    half = jnp.floor(side * jnp.sqrt(jax.random.uniform(share_key, (count, 1)))) // 2
    centre = jnp.floor(side * jax.random.uniform(place_key, (count, 2)))
    hole = jnp.concatenate([centre - half, centre + half], axis=1).clip(0, side)  # [B, 4] pixels
    at = jnp.arange(side)
    inside = lambda low, high: (at[None] >= low[:, None]) & (at[None] < high[:, None])
    across, down = inside(hole[:, 0], hole[:, 2]), inside(hole[:, 1], hole[:, 3])
    pasted = (down[:, :, None] & across[:, None])[..., None]
    other, others = mixed.another((pixels, objects))
    blend = jnp.where(pasted, other, pixels)

    hole = (hole / side)[:, None]  # fractions
    limits = dict(min_visible=min_visible, side=side)
    own = mixed.visible(objects, *_uncovered(objects.boxes, hole), **limits)
    boxes = mixed.clip(others.boxes, hole)
    others = mixed.visible(others, boxes, mixed.share(boxes, others.boxes), **limits)
    return blend, mixed.joined(own, others)


def _uncovered(boxes: Array, hole: Array) -> tuple[Array, Array]:
    """What is left of boxes [B, N, 4] outside a hole [B, 1, 4], and which share of them [B, N].

    A box is not changed if the rest of it is no rectangle.
    """
    x1, y1, x2, y2 = jnp.moveaxis(boxes, -1, 0)
    left, top, right, bottom = jnp.moveaxis(hole, -1, 0)
    wide, high = (left <= x1) & (right >= x2), (top <= y1) & (bottom >= y2)
    rest = jnp.stack(
        [
            jnp.where(high & (left <= x1), jnp.clip(right, x1, x2), x1),
            jnp.where(wide & (top <= y1), jnp.clip(bottom, y1, y2), y1),
            jnp.where(high & (right >= x2), jnp.clip(left, x1, x2), x2),
            jnp.where(wide & (bottom >= y2), jnp.clip(top, y1, y2), y2),
        ],
        axis=-1,
    )
    return rest, 1 - mixed.share(mixed.clip(boxes, hole), boxes)


def mosaic(
    key: jax.Array,
    pixels: Array,
    objects: Objects,
    *,
    cut: tuple[float, float] = (0.2, 0.8),
    min_visible: float = 0.3,
    fill: tuple[float, float, float] = _GREY,
) -> tuple[Array, Objects]:
    """Four views side by side, as in Darknet (YOLOv4, Bochkovskiy et al. 2020, arXiv:2004.10934,
    section 3.3); 4N slots.

    An image and the next three fill the quarters around a point, drawn from `cut` along each axis,
    as fractions of the side. Each is there at full size with the corner of its picture at the
    point, so the padding of letterboxed views does not come between them. Unlike Darknet's, boxes
    are cut off at the border of their quarter, not only at that of the view.
    """
    count, side = pixels.shape[:2]
    low, high = cut
    point = jax.random.uniform(key, (count, 2), minval=low, maxval=high)
    still = jnp.broadcast_to(jnp.eye(2, 3)[None], (count, 2, 3))
    how = dict(canvas=side, min_visible=min_visible, fill=fill)
    return _mosaic(pixels, objects, jnp.round(point * side), still, **how)


def mosaic_yolox(
    key: jax.Array,
    pixels: Array,
    objects: Objects,
    *,
    rotation: float = 10.0,
    scale: tuple[float, float] = (0.1, 2.0),
    shear: float = 2.0,
    shift: float = 0.1,
    min_visible: float = 0.3,
    fill: tuple[float, float, float] = _GREY,
) -> tuple[Array, Objects]:
    """Four views on a canvas of twice the side, of which a random affine map shows a part; 4N slots
    (YOLOX, Ge et al. 2021, arXiv:2107.08430, section 2).

    The point at which they meet lies between a quarter and three quarters of the canvas; the rest
    is as in `mosaic`, the map as in `affine`. Pixels are read from the four views at once: the
    canvas is never made, so nothing is lost to reading twice.
    """
    count, side = pixels.shape[:2]
    point_key, map_key = jax.random.split(key)
    point = jax.random.uniform(point_key, (count, 2), minval=0.5, maxval=1.5)
    drawn = dict(rotation=rotation, scale=scale, shear=shear, shift=shift)
    maps = warp.draw(map_key, count, **drawn, source=2 * side, target=side)
    how = dict(canvas=2 * side, min_visible=min_visible, fill=fill)
    return _mosaic(pixels, objects, jnp.round(point * side), maps, **how)


def _mosaic(pixels, objects, point, maps, **how) -> tuple[Array, Objects]:
    """An image and the next three around `point` [B, 2] of a canvas that is seen through `maps`."""
    views = [mixed.following((pixels, objects), number) for number in range(4)]
    extents = [mixed.extents(each, how["fill"]) for each, _ in views]
    return tiles.show(views, extents, point, maps, **how)


def affine(
    key: jax.Array,
    pixels: Array,
    objects: Objects,
    *,
    rotation: float = 10.0,
    scale: tuple[float, float] = (0.5, 1.5),
    shear: float = 2.0,
    shift: float = 0.1,
    min_visible: float = 0.3,
    fill: tuple[float, float, float] = _GREY,
) -> tuple[Array, Objects]:
    """Turns, scales, shears and shifts every view about its middle; N slots.

    Angles in degrees, the shift as a fraction of the side; `warp.draw` has the details. Boxes are
    the hulls of the moved corners, so a turned box is larger than its object.
    """
    count, side = pixels.shape[:2]
    drawn = dict(rotation=rotation, scale=scale, shear=shear, shift=shift)
    maps = warp.draw(key, count, **drawn, source=side, target=side)
    return _warped(pixels, objects, maps, min_visible=min_visible, fill=fill)


def _warped(pixels, objects, maps, **how) -> tuple[Array, Objects]:
    """Every view through its map [B, 2, 3]: the only one on a canvas of its size."""
    count, side = pixels.shape[:2]
    whole = jnp.broadcast_to(jnp.array([[0.0, 0.0, side, side]]), (count, 4))
    views = [(pixels, objects)]
    return tiles.show(views, [whole], whole[:, 2:], maps, canvas=side, **how)
