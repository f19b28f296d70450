"""Box arithmetic for numpy and traced arrays alike; boxes are corners (xyxy) unless named."""

import jax.numpy as jnp

from jaxdet.types import Array


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
