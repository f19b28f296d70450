"""Box codes relative to an anchor or its cell: what a network learns to say."""

import jax
import jax.numpy as jnp

from jaxdet import boxes as boxes_
from jaxdet.types import Anchors, Array

# Of the picture's side. Padding and degenerate boxes have no side; the logarithm needs one.
SMALLEST_SIDE = 1e-6


def encode(
    boxes: Array, anchors_cxcywh: Array, *, variances: tuple[float, float] = (0.1, 0.2)
) -> Array:
    """Codes [..., A, 4] of boxes [..., A, 4] xyxy, one per anchor [A, 4].

    Centre offsets in units of the anchor's sides over the first variance, log ratios of the sides
    over the second (SSD paper, equation 2; the variances are those of its published code).
    """
    boxes_cxcywh = boxes_.to_cxcywh(boxes)
    anchors = _like(anchors_cxcywh, boxes)
    centre = (boxes_cxcywh[..., :2] - anchors[..., :2]) / anchors[..., 2:] / variances[0]
    sides = jnp.maximum(boxes_cxcywh[..., 2:], SMALLEST_SIDE)
    return jnp.concatenate([centre, jnp.log(sides / anchors[..., 2:]) / variances[1]], axis=-1)


def decode(
    codes: Array, anchors_cxcywh: Array, *, variances: tuple[float, float] = (0.1, 0.2)
) -> Array:
    """Boxes [..., A, 4] xyxy, not clipped, that the codes [..., A, 4] stand for."""
    anchors = _like(anchors_cxcywh, codes)
    centre = codes[..., :2] * variances[0] * anchors[..., 2:] + anchors[..., :2]
    sides = jnp.exp(codes[..., 2:] * variances[1]) * anchors[..., 2:]
    return boxes_.from_cxcywh(jnp.concatenate([centre, sides], axis=-1))


def encode_in_cell(boxes: Array, anchors: Anchors) -> Array:
    """Where in its cell a box has its centre, in 0..1, and the log ratios of its sides.

    Boxes [..., A, 4], one per anchor; the first two of the codes [..., A, 4] are what the sigmoid
    of the network's should be (YOLO9000, section 2, direct location prediction).
    """
    boxes_cxcywh = boxes_.to_cxcywh(boxes)
    cell, prior = _like(anchors.cell, boxes), _like(anchors.boxes, boxes)
    centre = (boxes_cxcywh[..., :2] - cell[..., :2]) / cell[..., 2:]
    sides = jnp.maximum(boxes_cxcywh[..., 2:], SMALLEST_SIDE)
    return jnp.concatenate([centre, jnp.log(sides / prior[..., 2:])], axis=-1)


def decode_in_cell(codes: Array, anchors: Anchors) -> Array:
    """Boxes [..., A, 4] xyxy, not clipped, of a network's codes [..., A, 4], before the sigmoid."""
    cell, prior = _like(anchors.cell, codes), _like(anchors.boxes, codes)
    centre = jax.nn.sigmoid(codes[..., :2]) * cell[..., 2:] + cell[..., :2]
    sides = jnp.exp(codes[..., 2:]) * prior[..., 2:]
    return boxes_.from_cxcywh(jnp.concatenate([centre, sides], axis=-1))


def encode_roots(boxes: Array, anchors: Anchors) -> Array:
    """Where in its cell a box has its centre, in 0..1, and the roots of its sides.

    Boxes and codes [..., A, 4]; sides are fractions of the picture (YOLO, section 2.2).
    """
    boxes_cxcywh = boxes_.to_cxcywh(boxes)
    cell = _like(anchors.cell, boxes)
    centre = (boxes_cxcywh[..., :2] - cell[..., :2]) / cell[..., 2:]
    return jnp.concatenate([centre, jnp.sqrt(jnp.maximum(boxes_cxcywh[..., 2:], 0))], axis=-1)


def decode_roots(codes: Array, anchors: Anchors) -> Array:
    """Boxes [..., A, 4] xyxy, not clipped, of such codes [..., A, 4]."""
    cell = _like(anchors.cell, codes)
    centre = codes[..., :2] * cell[..., 2:] + cell[..., :2]
    return boxes_.from_cxcywh(jnp.concatenate([centre, jnp.square(codes[..., 2:])], axis=-1))


def _like(anchors: Array, boxes: Array) -> Array:
    """Anchors [A, 4] with as many axes as boxes [..., A, 4]."""
    return jnp.reshape(anchors, (1,) * (boxes.ndim - 2) + anchors.shape)
