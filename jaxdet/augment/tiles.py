"""Views laid side by side on a square canvas, of which an affine map shows a part.

The canvas is never made: every pixel is read from the view that is there. Places, offsets and
rectangles are pixels of the canvas, which has the scale of the views.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxdet.augment import mixed, warp
from jaxdet.types import Array, Objects


def place(number: int, extent: Array, point: Array, *, canvas: int) -> tuple[Array, Array]:
    """Where view 0 to 3 (top left, top right, bottom left, bottom right) is around a point.

    Its picture, `extent` [..., 4] of the view, has the corner towards the middle at `point`
    [..., 2]. Returns the place [..., 2] of the view's top left corner and the rectangle [..., 4]
    of the canvas that the picture covers.
    """
    corner = extent[..., [0 if number % 2 else 2, 1 if number // 2 else 3]]
    offset = point - corner
    return offset, jnp.clip(extent + jnp.tile(offset, 2), 0.0, float(canvas))


def show(
    views: Sequence[tuple[Array, Objects]],
    extents: Sequence[Array],
    point: Array,
    maps: Array,
    *,
    canvas: int,
    min_visible: float,
    fill: tuple[float, float, float],
) -> tuple[Array, Objects]:
    """What maps [B, 2, 3] of the canvas show of views around a point [B, 2]; padding last.

    `views` are one or four of pixels [B, S, S, 3] and objects [B, N], `extents` [B, 4] their
    pictures. Boxes are cut off at the borders of their picture and of the result, which has the
    views' size; `min_visible` and `fill` as in `augment/mix.py`.
    """
    side = views[0][0].shape[1]
    placed = [place(n, extent, point, canvas=canvas) for n, extent in enumerate(extents)]

    def read(pixels, extents, offsets, point, map):
        places = warp.sources(map, side)
        ahead = (places >= point[None, None]).astype(jnp.int32)
        which = jnp.minimum(ahead[..., 0] + 2 * ahead[..., 1], len(views) - 1)
        seen, inside = warp.read(pixels, which, places - offsets[which], extents)
        inside &= ((places >= 0) & (places < canvas)).all(axis=-1)
        return jnp.where(inside[..., None], seen, jnp.array(fill)[None, None])

    together = lambda arrays: jnp.stack(list(arrays), axis=1)
    pixels = jax.vmap(read)(
        together(pixels for pixels, _ in views),
        together(extents),
        together(offset for offset, _ in placed),
        point,
        maps,
    )
    limits = dict(min_visible=min_visible, side=side)
    moved = [
        mixed.visible(objects, *_moved(objects.boxes, offset, rectangle, maps, side), **limits)
        for (_, objects), (offset, rectangle) in zip(views, placed, strict=True)
    ]
    return pixels, mixed.joined(*moved)


def _moved(boxes, offset, rectangle, maps, side) -> tuple[Array, Array]:
    """What maps show of the boxes [B, N, 4] of a view, and which share of their hulls [B, N]."""
    move = jax.vmap(warp.move_boxes)
    boxes = boxes * side + jnp.tile(offset, 2)[:, None]
    whole = move(boxes, maps)
    seen = move(mixed.clip(boxes, rectangle[:, None]), maps)
    seen = mixed.clip(seen, jnp.array([[[0.0, 0.0, side, side]]]))
    return seen / side, mixed.share(seen, whole)
