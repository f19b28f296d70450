"""Box losses: `box_loss="NAME"` in a recipe selects the function NAME.

Each takes a network's outputs [B, A, 4], the target boxes [B, A, 4], the anchors [A] and the codec
that relates outputs and boxes, and returns the loss [B, A].
"""

from collections.abc import Callable

import jax.numpy as jnp
from optax import sigmoid_binary_cross_entropy

from jaxdet.boxes.codecs import Codec
from jaxdet.types import Anchors, Array

BoxLoss = Callable[[Array, Array, Anchors, Codec], Array]


def smooth_l1(outputs: Array, boxes: Array, anchors: Anchors, codec: Codec) -> Array:
    """Half the squared error of the codes up to 1, linear beyond (Fast R-CNN, equation 3)."""
    error = codec.activate(outputs) - codec.encode(boxes, anchors)
    size = jnp.abs(error)
    return jnp.where(size < 1, 0.5 * error**2, size - 0.5).sum(axis=-1)


def mse(outputs: Array, boxes: Array, anchors: Anchors, codec: Codec) -> Array:
    """The squared error of the codes (YOLO, equation 3)."""
    return jnp.square(codec.activate(outputs) - codec.encode(boxes, anchors)).sum(axis=-1)


def yolov2(outputs: Array, boxes: Array, anchors: Anchors, codec: Codec) -> Array:
    """The cross entropy of the centre in its cell, and the squared error of the log sides.

    It needs `codecs.in_cell`, whose first two outputs are logits (yjh0410/PyTorch_YOLOv2).
    """
    return _in_cell(outputs, codec.encode(boxes, anchors), share_of_sides=1.0)


def yolov3(outputs: Array, boxes: Array, anchors: Anchors, codec: Codec) -> Array:
    """As `yolov2` with half the squared error, whose gradient is the plain difference (darknet)."""
    return _in_cell(outputs, codec.encode(boxes, anchors), share_of_sides=0.5)


def _in_cell(outputs: Array, codes: Array, *, share_of_sides: float) -> Array:
    centre = sigmoid_binary_cross_entropy(outputs[..., :2], codes[..., :2])
    sides = jnp.square(outputs[..., 2:] - codes[..., 2:])
    return (centre + share_of_sides * sides).sum(axis=-1)
