"""Box codes relative to an anchor or its cell: what a network learns to predict.

Boxes and codes are [..., A, 4], one for each anchor [A]; boxes are not clipped.
"""

import dataclasses
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from jaxdet.boxes.iou import from_cxcywh, to_cxcywh
from jaxdet.types import Anchors, Array

# Of the image's side. Padding and degenerate boxes have no side; the logarithm needs one.
SMALLEST_SIDE = 1e-6


def _as_it_is(outputs: Array) -> Array:
    return outputs


@dataclasses.dataclass(frozen=True)
class Codec:
    """How boxes become codes and a network's outputs become boxes.

    `encode` makes codes of boxes xyxy, `decode` boxes of a network's outputs. `activate` makes of
    these outputs what a code is compared with: the sigmoid of some, where they are logits.
    """

    encode: Callable[[Array, Anchors], Array]
    decode: Callable[[Array, Anchors], Array]
    activate: Callable[[Array], Array] = _as_it_is


def from_anchor(variances: tuple[float, float] = (0.1, 0.2)) -> Codec:
    """Centre offsets in units of the anchor's sides over the first variance, log ratios of the
    sides over the second (SSD paper, equation 2; the variances are those of its published code)."""
    return Codec(
        partial(encode_from_anchor, variances=variances),
        partial(decode_from_anchor, variances=variances),
    )


def encode_from_anchor(
    boxes: Array, anchors: Anchors, *, variances: tuple[float, float] = (0.1, 0.2)
) -> Array:
    """The codes of boxes; see `from_anchor`."""
    boxes_cxcywh = to_cxcywh(boxes)
    anchor = _like(anchors.boxes, boxes)
    centre = (boxes_cxcywh[..., :2] - anchor[..., :2]) / anchor[..., 2:] / variances[0]
    sides = jnp.maximum(boxes_cxcywh[..., 2:], SMALLEST_SIDE)
    return jnp.concatenate([centre, jnp.log(sides / anchor[..., 2:]) / variances[1]], axis=-1)


def decode_from_anchor(
    codes: Array, anchors: Anchors, *, variances: tuple[float, float] = (0.1, 0.2)
) -> Array:
    """The boxes that codes stand for; see `from_anchor`."""
    anchor = _like(anchors.boxes, codes)
    centre = codes[..., :2] * variances[0] * anchor[..., 2:] + anchor[..., :2]
    sides = jnp.exp(codes[..., 2:] * variances[1]) * anchor[..., 2:]
    return from_cxcywh(jnp.concatenate([centre, sides], axis=-1))


def encode_in_cell(boxes: Array, anchors: Anchors) -> Array:
    """Where in its cell a box has its centre, in 0..1, and the log ratios of its sides.

    The first two are what the sigmoid of the network's outputs should be (YOLO9000, section 2,
    direct location prediction).
    """
    boxes_cxcywh = to_cxcywh(boxes)
    cell, prior = _like(anchors.cell, boxes), _like(anchors.boxes, boxes)
    centre = (boxes_cxcywh[..., :2] - cell[..., :2]) / cell[..., 2:]
    sides = jnp.maximum(boxes_cxcywh[..., 2:], SMALLEST_SIDE)
    return jnp.concatenate([centre, jnp.log(sides / prior[..., 2:])], axis=-1)


def decode_in_cell(outputs: Array, anchors: Anchors) -> Array:
    """The boxes that a network's outputs stand for; the first two are logits."""
    cell, prior = _like(anchors.cell, outputs), _like(anchors.boxes, outputs)
    centre = jax.nn.sigmoid(outputs[..., :2]) * cell[..., 2:] + cell[..., :2]
    sides = jnp.exp(outputs[..., 2:]) * prior[..., 2:]
    return from_cxcywh(jnp.concatenate([centre, sides], axis=-1))


def _sigmoid_of_centre(outputs: Array) -> Array:
    return jnp.concatenate([jax.nn.sigmoid(outputs[..., :2]), outputs[..., 2:]], axis=-1)


in_cell = Codec(encode_in_cell, decode_in_cell, _sigmoid_of_centre)


def encode_roots(boxes: Array, anchors: Anchors) -> Array:
    """Where in its cell a box has its centre, in 0..1, and the roots of its sides.

    Sides are fractions of the image (YOLO, section 2.2).
    """
    boxes_cxcywh = to_cxcywh(boxes)
    cell = _like(anchors.cell, boxes)
    centre = (boxes_cxcywh[..., :2] - cell[..., :2]) / cell[..., 2:]
    return jnp.concatenate([centre, jnp.sqrt(jnp.maximum(boxes_cxcywh[..., 2:], 0))], axis=-1)


def decode_roots(codes: Array, anchors: Anchors) -> Array:
    """The boxes that such codes stand for."""
    cell = _like(anchors.cell, codes)
    centre = codes[..., :2] * cell[..., 2:] + cell[..., :2]
    return from_cxcywh(jnp.concatenate([centre, jnp.square(codes[..., 2:])], axis=-1))


roots = Codec(encode_roots, decode_roots)


def _like(anchors: Array, boxes: Array) -> Array:
    """Anchors [A, 4] with as many axes as boxes [..., A, 4]."""
    return jnp.reshape(anchors, (1,) * (boxes.ndim - 2) + anchors.shape)
