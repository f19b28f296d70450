"""Box arithmetic for numpy and traced arrays alike; boxes are corners (xyxy) unless named."""

import math

import jax.numpy as jnp
from jax import lax

from jaxdet.types import Array

EPSILON = 1e-7  # added to what the overlaps that losses use divide by, as in torchvision


def area(boxes: Array) -> Array:
    """Area of boxes [..., 4]; zero if a box is empty or inverted."""
    return jnp.maximum(boxes[..., 2] - boxes[..., 0], 0) * jnp.maximum(
        boxes[..., 3] - boxes[..., 1], 0
    )


def to_cxcywh(boxes: Array) -> Array:
    """Corners [..., 4] to centre, width and height [..., 4]."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return jnp.concatenate([(low + high) / 2, high - low], axis=-1)


def from_cxcywh(boxes_cxcywh: Array) -> Array:
    """Centre, width and height [..., 4] to corners [..., 4]."""
    centre, half = boxes_cxcywh[..., :2], boxes_cxcywh[..., 2:] / 2
    return jnp.concatenate([centre - half, centre + half], axis=-1)


def pairwise_intersection(a: Array, b: Array) -> Array:
    """Area shared by every box of a [N, 4] and every box of b [M, 4]: [N, M]."""
    low = jnp.maximum(a[:, None, :2], b[None, :, :2])  # [N, M, 2]
    high = jnp.minimum(a[:, None, 2:], b[None, :, 2:])  # [N, M, 2]
    side = jnp.maximum(high - low, 0)
    return side[..., 0] * side[..., 1]


def pairwise_iou(a: Array, b: Array, *, epsilon: float = 0.0) -> Array:
    """Intersection over union of a [N, 4] and b [M, 4]: [N, M]; 0 if both are empty.

    `epsilon` is added to the union; SSD's matching uses 1e-5, which decides ties.
    """
    shared = pairwise_intersection(a, b)
    union = area(a)[:, None] + area(b)[None, :] - shared + epsilon
    return jnp.where(union > 0, shared / jnp.where(union > 0, union, 1), 0.0)


def paired_iou(a: Array, b: Array) -> Array:
    """Intersection over union of boxes a [..., 4] and b [..., 4], pair by pair: [...]."""
    corners = jnp.concatenate(
        [jnp.maximum(a[..., :2], b[..., :2]), jnp.minimum(a[..., 2:], b[..., 2:])], axis=-1
    )
    shared = area(corners)
    union = area(a) + area(b) - shared
    return jnp.where(union > 0, shared / jnp.where(union > 0, union, 1), 0.0)


def paired_smooth_iou(a: Array, b: Array) -> Array:
    """As `paired_iou`, for losses: a differentiable function of boxes [..., 4], [...].

    1e-7 is added to the union. Inverted boxes keep the signs of their sides. Boxes that only touch
    get no gradient, as all others that do not overlap.
    """
    return _iou_and_union(a, b)[0]


def paired_giou(a: Array, b: Array) -> Array:
    """The generalised IoU of boxes a and b [..., 4], pair by pair: [...] in -1..1.

    It is the IoU less the share of the smallest box around both that neither of them covers
    (Rezatofighi et al. 2019, arXiv:1902.09630, algorithm 1); signs and 1e-7 as in
    `paired_smooth_iou`.
    """
    iou, union = _iou_and_union(a, b)
    hull = _hull_sides(a, b)
    area_of_hull = hull[..., 0] * hull[..., 1]
    return iou - (area_of_hull - union) / (area_of_hull + EPSILON)


def paired_diou(a: Array, b: Array) -> Array:
    """The distance IoU of boxes a and b [..., 4], pair by pair: [...] in -1..1.

    It is the IoU less `paired_centre_distance` (Zheng et al. 2020, arXiv:1911.08287, equation 7);
    signs and 1e-7 as in `paired_smooth_iou`.
    """
    return paired_smooth_iou(a, b) - paired_centre_distance(a, b, epsilon=EPSILON)


def paired_ciou(a: Array, b: Array) -> Array:
    """The complete IoU of boxes a and b [..., 4], pair by pair: [...].

    It is the distance IoU less alpha v, where v compares the ratios of the sides (arXiv:1911.08287,
    equations 8 to 11). alpha = v / (1 - IoU + v) takes no gradient, and is not set to zero for an
    IoU below one half. A point, a box both of whose sides are shorter than about 1e-15, has no
    ratio of sides: v is 0, so the value and the gradient are those of `paired_diou`.
    """
    iou = paired_smooth_iou(a, b)
    v = jnp.square(2 / math.pi * (_angle(a) - _angle(b)))
    v = jnp.where(_is_point(a) | _is_point(b), 0.0, v)
    alpha = lax.stop_gradient(v / (1 - iou + v + EPSILON))
    return iou - paired_centre_distance(a, b, epsilon=EPSILON) - alpha * v


def paired_centre_distance(a: Array, b: Array, *, epsilon: float = 0.0) -> Array:
    """The squared distance of the centres over that of two corners of the smallest box around both.

    Of boxes a and b [..., 4], pair by pair: [...] in 0..1; 0 if both are the same point. `epsilon`
    is added to the second distance.
    """
    between = (a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) / 2
    diagonal = jnp.square(_hull_sides(a, b)).sum(axis=-1) + epsilon
    return jnp.square(between).sum(axis=-1) / jnp.where(diagonal > 0, diagonal, 1)


def _iou_and_union(a: Array, b: Array) -> tuple[Array, Array]:
    low, high = jnp.maximum(a[..., :2], b[..., :2]), jnp.minimum(a[..., 2:], b[..., 2:])
    side = high - low
    shared = jnp.where((side > 0).all(axis=-1), side[..., 0] * side[..., 1], 0.0)
    union = _signed_area(a) + _signed_area(b) - shared
    return shared / (union + EPSILON), union


def _signed_area(boxes: Array) -> Array:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def _hull_sides(a: Array, b: Array) -> Array:
    """The sides [..., 2] of the smallest boxes around a and b [..., 4]."""
    return jnp.maximum(a[..., 2:], b[..., 2:]) - jnp.minimum(a[..., :2], b[..., :2])


def _is_point(boxes: Array) -> Array:
    """Whether the sides of boxes [..., 4] are too short for a quotient of their squares."""
    return jnp.square(boxes[..., 2:] - boxes[..., :2]).sum(axis=-1) < 1e-30


def _angle(boxes: Array) -> Array:
    """arctan(width / height) of boxes [..., 4], with a finite gradient; of a point, some number."""
    sides = jnp.where(_is_point(boxes)[..., None], 1.0, boxes[..., 2:] - boxes[..., :2])
    sides = jnp.where(sides[..., 1:] < 0, -sides, sides)  # the ratio stays the same
    return jnp.arctan2(sides[..., 0], sides[..., 1])
