"""Box losses: `box_loss="NAME"` in a recipe selects the function NAME.

Each takes a network's outputs [B, A, 4], the target boxes [B, A, 4], the anchors [A] and the codec
that relates outputs and boxes, and returns the loss [B, A].
"""

from collections.abc import Callable

import jax.numpy as jnp
from optax import sigmoid_binary_cross_entropy

from jaxdet.boxes.codecs import Codec
from jaxdet.boxes.iou import (
    paired_ciou,
    paired_diou,
    paired_giou,
    paired_iou,
    paired_smooth_iou,
)
from jaxdet.types import Anchors, Array

BoxLoss = Callable[[Array, Array, Anchors, Codec], Array]

# Whatever the codec, boxes of smaller outputs have sides below 1e7, whose fourth powers fit into a
# float32, as the gradient of a quotient of areas needs.
LARGEST_OUTPUT = 3e3


def smooth_l1(
    outputs: Array, boxes: Array, anchors: Anchors, codec: Codec, *, beta: float = 1.0
) -> Array:
    """The absolute error of the codes less half of `beta`, and below `beta` the parabola that
    continues it (Fast R-CNN, equation 3, where `beta` is 1; Faster R-CNN's code has 1/9).

    ValueError unless `beta` is positive.
    """
    if beta <= 0:
        raise ValueError(f"beta is {beta}, expected more than 0")
    error = codec.activate(outputs) - codec.encode(boxes, anchors)
    size = jnp.abs(error)
    return jnp.where(size < beta, 0.5 / beta * error**2, size - 0.5 * beta).sum(axis=-1)


def l1(outputs: Array, boxes: Array, anchors: Anchors, codec: Codec) -> Array:
    """The absolute error of the codes, as in torchvision's RetinaNet."""
    return jnp.abs(codec.activate(outputs) - codec.encode(boxes, anchors)).sum(axis=-1)


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


def iou(outputs: Array, boxes: Array, anchors: Anchors, codec: Codec) -> Array:
    """1 - IoU (Yu et al. 2016, arXiv:1608.01471, which takes its logarithm).

    There is no gradient for boxes that do not overlap.
    """
    return 1 - paired_smooth_iou(_decoded(outputs, anchors, codec), boxes)


def yolox(outputs: Array, boxes: Array, anchors: Anchors, codec: Codec) -> Array:
    """1 - IoU^2, the IoU without an epsilon (YOLOX's code). No gradient if they do not overlap."""
    return 1 - jnp.square(paired_iou(_decoded(outputs, anchors, codec), boxes))


def giou(outputs: Array, boxes: Array, anchors: Anchors, codec: Codec) -> Array:
    """1 - generalised IoU (Rezatofighi et al. 2019, arXiv:1902.09630, algorithm 1)."""
    return 1 - paired_giou(_decoded(outputs, anchors, codec), boxes)


def diou(outputs: Array, boxes: Array, anchors: Anchors, codec: Codec) -> Array:
    """1 - distance IoU (Zheng et al. 2020, arXiv:1911.08287, equation 7)."""
    return 1 - paired_diou(_decoded(outputs, anchors, codec), boxes)


def ciou(outputs: Array, boxes: Array, anchors: Anchors, codec: Codec) -> Array:
    """1 - complete IoU (arXiv:1911.08287, equation 10), of points as in `paired_ciou`."""
    return 1 - paired_ciou(_decoded(outputs, anchors, codec), boxes)


def _decoded(outputs: Array, anchors: Anchors, codec: Codec) -> Array:
    """The boxes [B, A, 4] that outputs represent, with finite gradients for outputs of any size."""
    return codec.decode(jnp.clip(outputs, -LARGEST_OUTPUT, LARGEST_OUTPUT), anchors)


def _in_cell(outputs: Array, codes: Array, *, share_of_sides: float) -> Array:
    centre = sigmoid_binary_cross_entropy(outputs[..., :2], codes[..., :2])
    sides = jnp.square(outputs[..., 2:] - codes[..., 2:])
    return (centre + share_of_sides * sides).sum(axis=-1)
