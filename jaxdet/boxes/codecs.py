"""Box codes relative to an anchor or its cell: what a network learns to predict.

Boxes and codes are [..., A, 4], one for each anchor; boxes are not clipped. Anchors are [A], the
same for all that comes before, or have axes of their own there, as regions have, [B, A]; an axis of
length 1 stands for any length.
"""

import dataclasses
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from jaxdet.boxes.iou import from_cxcywh, to_cxcywh
from jaxdet.types import Anchors, Array

# As a fraction of the image's side. Padding and degenerate boxes have sides of zero, which have no
# logarithm.
SMALLEST_SIDE = 1e-6

# A decoded box has at most nine million times the sides of its anchor: exp of a wild output would
# be infinite, and then the gradient of a loss of boxes NaN.
LARGEST_LOG_RATIO = 16.0


def _unchanged(outputs: Array) -> Array:
    return outputs


@dataclasses.dataclass(frozen=True)
class Codec:
    """How boxes become codes and a network's outputs become boxes.

    `encode` turns xyxy boxes into codes, `decode` turns a network's outputs into boxes. `activate`
    turns these outputs into what codes are compared with: the sigmoid of those that are logits.
    """

    encode: Callable[[Array, Anchors], Array]
    decode: Callable[[Array, Anchors], Array]
    activate: Callable[[Array], Array] = _unchanged


def from_anchor(
    variances: tuple[float, float] = (0.1, 0.2), largest_log_ratio: float = LARGEST_LOG_RATIO
) -> Codec:
    """Centre offsets in units of the anchor's sides, divided by the first variance, and log ratios
    of the sides, divided by the second (SSD paper, equation 2; variances as in its code).

    The same codes serve both stages of Faster R-CNN (equation 2), where torchvision divides by
    weights, which are one over these variances. A log ratio is decoded as at most
    `largest_log_ratio` (torchvision: log(1000 / 16)).
    """
    return Codec(
        partial(encode_from_anchor, variances=variances),
        partial(decode_from_anchor, variances=variances, largest_log_ratio=largest_log_ratio),
    )


def encode_from_anchor(
    boxes: Array, anchors: Anchors, *, variances: tuple[float, float] = (0.1, 0.2)
) -> Array:
    """The codes of boxes; see `from_anchor`. They are finite, whatever the boxes and anchors."""
    boxes_cxcywh = to_cxcywh(boxes)
    anchor = _like(anchors.boxes, boxes)
    unit = jnp.maximum(anchor[..., 2:], SMALLEST_SIDE)  # a region can be a point
    centre = (boxes_cxcywh[..., :2] - anchor[..., :2]) / unit / variances[0]
    sides = jnp.maximum(boxes_cxcywh[..., 2:], SMALLEST_SIDE)
    return jnp.concatenate([centre, jnp.log(sides / unit) / variances[1]], axis=-1)


def decode_from_anchor(
    codes: Array,
    anchors: Anchors,
    *,
    variances: tuple[float, float] = (0.1, 0.2),
    largest_log_ratio: float = LARGEST_LOG_RATIO,
) -> Array:
    """The boxes that codes represent; see `from_anchor`."""
    anchor = _like(anchors.boxes, codes)
    centre = codes[..., :2] * variances[0] * anchor[..., 2:] + anchor[..., :2]
    sides = _exp(codes[..., 2:] * variances[1], largest_log_ratio) * anchor[..., 2:]
    return from_cxcywh(jnp.concatenate([centre, sides], axis=-1))


def encode_in_cell(boxes: Array, anchors: Anchors) -> Array:
    """The centre of a box within its anchor's reach, 0..1, and the log ratios of its sides.

    The reach is the cell, or a little more in YOLOv4. The first two are targets for the sigmoid of
    the network's outputs (YOLO9000, section 2, direct location prediction).
    """
    boxes_cxcywh = to_cxcywh(boxes)
    reach, prior = _like(_reach(anchors), boxes), _like(anchors.boxes, boxes)
    centre = (boxes_cxcywh[..., :2] - reach[..., :2]) / reach[..., 2:]
    sides = jnp.maximum(boxes_cxcywh[..., 2:], SMALLEST_SIDE)
    return jnp.concatenate([centre, jnp.log(sides / prior[..., 2:])], axis=-1)


def decode_in_cell(outputs: Array, anchors: Anchors) -> Array:
    """The boxes that a network's outputs represent; the first two outputs are logits."""
    reach, prior = _like(_reach(anchors), outputs), _like(anchors.boxes, outputs)
    centre = jax.nn.sigmoid(outputs[..., :2]) * reach[..., 2:] + reach[..., :2]
    sides = _exp(outputs[..., 2:]) * prior[..., 2:]
    return from_cxcywh(jnp.concatenate([centre, sides], axis=-1))


def _reach(anchors: Anchors) -> Array:
    return anchors.cell if anchors.reach is None else anchors.reach


def _sigmoid_of_centre(outputs: Array) -> Array:
    return jnp.concatenate([jax.nn.sigmoid(outputs[..., :2]), outputs[..., 2:]], axis=-1)


in_cell = Codec(encode_in_cell, decode_in_cell, _sigmoid_of_centre)


def encode_from_cell(boxes: Array, anchors: Anchors) -> Array:
    """Where a box's centre is from its anchor's cell's top left corner, and the logarithms of its
    sides, all in units of the cell (YOLOX, section 2.1; 1e-8 as in its code)."""
    boxes_cxcywh = to_cxcywh(boxes)
    cell = _like(anchors.cell, boxes)
    centre = (boxes_cxcywh[..., :2] - cell[..., :2]) / cell[..., 2:]
    sides = jnp.maximum(boxes_cxcywh[..., 2:] / cell[..., 2:], 0)
    return jnp.concatenate([centre, jnp.log(sides + 1e-8)], axis=-1)


def decode_from_cell(codes: Array, anchors: Anchors) -> Array:
    """The boxes that such codes represent."""
    cell = _like(anchors.cell, codes)
    centre = codes[..., :2] * cell[..., 2:] + cell[..., :2]
    sides = _exp(codes[..., 2:]) * cell[..., 2:]
    return from_cxcywh(jnp.concatenate([centre, sides], axis=-1))


from_cell = Codec(encode_from_cell, decode_from_cell)


def encode_roots(boxes: Array, anchors: Anchors) -> Array:
    """The centre of a box within its cell, in 0..1, and the square roots of its sides.

    Sides are fractions of the image (YOLO, section 2.2).
    """
    boxes_cxcywh = to_cxcywh(boxes)
    cell = _like(anchors.cell, boxes)
    centre = (boxes_cxcywh[..., :2] - cell[..., :2]) / cell[..., 2:]
    return jnp.concatenate([centre, jnp.sqrt(jnp.maximum(boxes_cxcywh[..., 2:], 0))], axis=-1)


def decode_roots(codes: Array, anchors: Anchors) -> Array:
    """The boxes that such codes represent."""
    cell = _like(anchors.cell, codes)
    centre = codes[..., :2] * cell[..., 2:] + cell[..., :2]
    return from_cxcywh(jnp.concatenate([centre, jnp.square(codes[..., 2:])], axis=-1))


roots = Codec(encode_roots, decode_roots)


def _exp(log_ratio: Array, largest: float = LARGEST_LOG_RATIO) -> Array:
    return jnp.exp(jnp.minimum(log_ratio, largest))


def _like(anchors: Array, boxes: Array) -> Array:
    """Anchors [A, 4] or [B, A, 4] with as many axes as boxes [..., A, 4]."""
    return jnp.reshape(anchors, (1,) * (boxes.ndim - anchors.ndim) + anchors.shape)
