"""The losses of YOLOv1, v2 and v3: sums over a batch, counted in pictures.

Each takes the raw predictions [B, A, ...], the targets [B, A, ...] and the anchors [A, ...], and
returns {name: (sum, B)}. What an object costs is multiplied by its weight (less than 1 under
mixup). Float32 at least, whatever the network's dtype.
"""

from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp
from jax import lax
from optax import sigmoid_binary_cross_entropy as binary_cross_entropy

from jaxdet import boxes as boxes_
from jaxdet import codec
from jaxdet.losses import cross_entropy
from jaxdet.types import Anchors, Array, Raw, Targets

Losses = dict[str, tuple[Array, Array]]


@flax.struct.dataclass
class TargetsAndTruth(Targets):
    """Targets, and all boxes of the picture, for predictions to be compared with."""

    truth: Array  # [N, 4] xyxy; empty boxes for padding


def yolov1(raw: Raw, targets: Targets, anchors: Anchors, *, per_cell: int) -> Losses:
    """Squared errors of the network's own numbers (YOLO, equation 3); `per_cell` boxes a cell.

    `targets.positive` are all boxes of a cell with an object. The one that overlaps the object
    most is responsible: its confidence should be their IoU (section 2), and its classes count,
    which are the cell's. The equation's two lambdas are 5 for boxes and 0.5 for confidences of
    boxes without an object.
    """
    raw = _full(raw)
    found = lax.stop_gradient(codec.decode_roots(raw.boxes, anchors))
    iou = boxes_.paired_iou(found, targets.boxes)  # [B, A]
    responsible = targets.positive & _best_of_cell(found, targets.boxes, per_cell)
    wanted = codec.encode_roots(targets.boxes, anchors)
    of_box = jnp.square(raw.boxes - wanted).sum(axis=-1)
    classes = jax.nn.one_hot(targets.labels, raw.logits.shape[-1], dtype=raw.logits.dtype)
    of_class = jnp.square(raw.logits - classes).sum(axis=-1)
    weight = jnp.where(responsible, targets.weight, 0.0)
    sure = weight * jnp.square(raw.objectness - iou)
    empty = jnp.where(responsible, 0.0, jnp.square(raw.objectness))
    return _per_picture(
        raw, box=5 * weight * of_box, objectness=sure + 0.5 * empty, classes=weight * of_class
    )


def yolov2(
    raw: Raw,
    targets: Targets,
    anchors: Anchors,
    *,
    decode: Callable[[Array, Anchors], Array],
    box_error: Callable[[Array, Array, Anchors], Array],
) -> Losses:
    """YOLOv2's losses as yjh0410/PyTorch_YOLOv2 has them, where the paper gives none.

    Objectness: squared error of the sigmoid, towards the IoU of the decoded box, five times, or
    towards zero. Classes: cross entropy. Boxes: `box_error` of codes [B, A, 4], boxes [B, A, 4]
    and anchors, times 2 - area of the object. `decode` makes boxes of codes.
    """
    raw = _full(raw)
    iou = boxes_.paired_iou(lax.stop_gradient(decode(raw.boxes, anchors)), targets.boxes)
    confidence = jnp.clip(jax.nn.sigmoid(raw.objectness), 1e-4, 1 - 1e-4)
    negative = ~targets.positive & ~targets.ignore
    weight = jnp.where(targets.positive, targets.weight, 0.0)
    sure = weight * jnp.square(confidence - iou)
    empty = jnp.where(negative, jnp.square(confidence), 0.0)
    return _per_picture(
        raw,
        box=weight * _larger_for_small(box_error(raw.boxes, targets.boxes, anchors), targets),
        objectness=5 * sure + empty,
        classes=weight * cross_entropy(raw.logits, targets.labels),
    )


def yolov3(
    raw: Raw,
    targets: TargetsAndTruth,
    anchors: Anchors,
    *,
    ignore_iou: float,
    label_smoothing: float = 0.0,
) -> Losses:
    """YOLOv3's losses (section 2; the box's as darknet has it): independent logistic regressions.

    Objectness: 1 for positives, 0 for the others, save those whose decoded box overlaps any object
    by more than `ignore_iou`. Classes: 1 - `label_smoothing` for the object's, `label_smoothing`
    for each of the others (Zhang et al. 2019, arXiv:1902.04103). Boxes: half the squared error of
    the sides, as their gradient in the paper is the plain difference, times 2 - area of the object.
    """
    raw = _full(raw)
    found = lax.stop_gradient(codec.decode_in_cell(raw.boxes, anchors))
    overlap = jax.vmap(_highest_iou)(found, targets.truth)  # [B, A]
    negative = ~targets.positive & (overlap <= ignore_iou)
    weight = jnp.where(targets.positive, targets.weight, 0.0)
    sure = weight * binary_cross_entropy(raw.objectness, jnp.ones_like(raw.objectness))
    empty = binary_cross_entropy(raw.objectness, jnp.zeros_like(raw.objectness))
    classes = jax.nn.one_hot(targets.labels, raw.logits.shape[-1], dtype=raw.logits.dtype)
    classes = classes * (1 - 2 * label_smoothing) + label_smoothing
    of_class = binary_cross_entropy(raw.logits, classes).sum(axis=-1)
    of_box = in_cell_error(raw.boxes, targets.boxes, anchors, share_of_sides=0.5)
    return _per_picture(
        raw,
        box=weight * _larger_for_small(of_box, targets),
        objectness=sure + jnp.where(negative, empty, 0.0),
        classes=weight * of_class,
    )


def in_cell_error(
    codes: Array, boxes: Array, anchors: Anchors, *, share_of_sides: float = 1.0
) -> Array:
    """How far codes [B, A, 4] are from boxes [B, A, 4], with direct location prediction: [B, A].

    Binary cross entropy of the centre in its cell, and the squared error of the log sides times
    `share_of_sides`.
    """
    wanted = codec.encode_in_cell(boxes, anchors)
    centre = binary_cross_entropy(codes[..., :2], wanted[..., :2])
    sides = jnp.square(codes[..., 2:] - wanted[..., 2:])
    return (centre + share_of_sides * sides).sum(axis=-1)


def from_anchor_error(codes: Array, boxes: Array, anchors: Anchors) -> Array:
    """The squared error [B, A] of codes that are free to leave the cell, as a region proposal's."""
    wanted = codec.encode(boxes, anchors.boxes, variances=(1.0, 1.0))
    return jnp.square(codes - wanted).sum(axis=-1)


def _best_of_cell(found: Array, wanted: Array, per_cell: int) -> Array:
    """The box [B, A] bool of every cell that overlaps the wanted one most; without, the nearest."""
    iou = boxes_.paired_iou(found, wanted).reshape(len(found), -1, per_cell)  # [B, cells, per_cell]
    far = jnp.square(boxes_.to_cxcywh(found) - boxes_.to_cxcywh(wanted)).sum(axis=-1)
    fit = jnp.where((iou > 0).any(axis=-1, keepdims=True), iou, -far.reshape(iou.shape))
    return jax.nn.one_hot(fit.argmax(axis=-1), per_cell, dtype=bool).reshape(far.shape)


def _highest_iou(found: Array, truth: Array) -> Array:
    """The highest IoU of every box [A, 4] with any of [N, 4], of which the last may be empty: [A].

    A loop that ends with the last box, not a table [A, N] that would pay for the padding.
    """
    end = jnp.where(boxes_.area(truth) > 0, jnp.arange(len(truth)) + 1, 0).max()

    def visit(n: Array, highest: Array) -> Array:
        return jnp.maximum(highest, boxes_.pairwise_iou(found, truth[n][None])[:, 0])

    return lax.fori_loop(0, end, visit, jnp.zeros(len(found), found.dtype))


def _larger_for_small(loss: Array, targets: Targets) -> Array:
    """A loss [B, A] times 2 - area of its object, as darknet has it."""
    return loss * (2 - boxes_.area(targets.boxes))


def _full(raw: Raw) -> Raw:
    full = jnp.promote_types(raw.logits.dtype, jnp.float32)
    return jax.tree.map(lambda x: x.astype(full), raw)


def _per_picture(raw: Raw, *, box: Array, objectness: Array, classes: Array) -> Losses:
    """The sums of three losses [B, A], each with the number of pictures."""
    count = jnp.full((), len(raw.logits), raw.logits.dtype)
    parts = {"box": box, "objectness": objectness, "class": classes}
    return {name: (loss.sum(), count) for name, loss in parts.items()}
