"""The losses of YOLOv1 to v4 and YOLOX: sums over a batch; the count is the number of images.

Each takes the raw predictions [B, A, ...], the targets [B, A, ...], the objects [B, N, ...] and the
anchors [A, ...]. The loss of an object is multiplied by its weight (less than 1 under mixup).
At least float32, whatever the network's dtype.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax
from optax import sigmoid_binary_cross_entropy as binary_cross_entropy

from jaxdet.boxes import codecs
from jaxdet.boxes.codecs import Codec
from jaxdet.boxes.iou import area, paired_iou, to_cxcywh
from jaxdet.boxes.matching import highest_iou
from jaxdet.boxes.simota import Rule, simota
from jaxdet.losses.box import BoxLoss, l1
from jaxdet.losses.classes import ClassLoss
from jaxdet.losses.scores import class_scores
from jaxdet.types import Anchors, Array, Losses, Objects, Raw, Targets


def yolov1(
    raw: Raw,
    targets: Targets,
    objects: Objects,
    anchors: Anchors,
    *,
    per_cell: int,
    box_loss: BoxLoss,
) -> Losses:
    """Squared errors of the network's raw outputs (YOLO, equation 3), `per_cell` boxes per cell.

    `targets.positive` are all boxes of a cell with an object. The one that overlaps the object
    most is responsible: the target of its confidence is their IoU (section 2), and the cell's
    classes are counted at it. The equation's two lambdas are 5 for boxes and 0.5 for confidences of
    boxes without an object.
    """
    del objects
    raw = _full(raw)
    predicted = lax.stop_gradient(codecs.roots.decode(raw.boxes, anchors))
    iou = paired_iou(predicted, targets.boxes)  # [B, A]
    responsible = targets.positive & _best_of_cell(predicted, targets.boxes, per_cell)
    of_box = box_loss(raw.boxes, targets.boxes, anchors, codecs.roots)
    of_class = jnp.square(raw.logits - _one_hot(targets, raw)).sum(axis=-1)
    weight = jnp.where(responsible, targets.weight, 0.0)
    of_positives = weight * jnp.square(raw.objectness - iou)
    of_negatives = jnp.where(responsible, 0.0, jnp.square(raw.objectness))
    return _per_image(
        box=5 * weight * of_box,
        objectness=of_positives + 0.5 * of_negatives,
        classes=weight * of_class,
    )


def yolov2(
    raw: Raw,
    targets: Targets,
    objects: Objects,
    anchors: Anchors,
    *,
    codec: Codec,
    box_loss: BoxLoss,
    class_loss: ClassLoss,
) -> Losses:
    """YOLOv2's losses as in yjh0410/PyTorch_YOLOv2, since the paper gives none.

    Objectness: squared error of the sigmoid; for positives the target is the IoU of the decoded box
    and the weight five, for negatives the target is zero. Boxes: `box_loss` times (2 - area of the
    object).
    """
    del objects
    raw = _full(raw)
    iou = paired_iou(lax.stop_gradient(codec.decode(raw.boxes, anchors)), targets.boxes)
    confidence = jnp.clip(jax.nn.sigmoid(raw.objectness), 1e-4, 1 - 1e-4)
    negative = ~targets.positive & ~targets.ignore
    weight = jnp.where(targets.positive, targets.weight, 0.0)
    of_positives = weight * jnp.square(confidence - iou)
    of_negatives = jnp.where(negative, jnp.square(confidence), 0.0)
    of_box = box_loss(raw.boxes, targets.boxes, anchors, codec)
    return _per_image(
        box=weight * _emphasise_small(of_box, targets),
        objectness=5 * of_positives + of_negatives,
        classes=weight * class_loss(raw.logits, _one_hot(targets, raw)),
    )


def yolov3(
    raw: Raw,
    targets: Targets,
    objects: Objects,
    anchors: Anchors,
    *,
    ignore_iou: float,
    ignore_score: float = 0.0,
    box_weight: float | None = None,
    box_loss: BoxLoss,
    class_loss: ClassLoss,
) -> Losses:
    """The losses of YOLOv3 (section 2; that of boxes as in darknet) and of YOLOv4.

    Objectness: the target is 1 for positives and 0 for the others, except those whose decoded box
    overlaps any object by more than `ignore_iou` and whose highest class score is above
    `ignore_score`, which are ignored. Boxes: `box_loss` times `box_weight`, by default (2 - area of
    the object).
    """
    raw = _full(raw)
    weight = jnp.where(targets.positive, targets.weight, 0.0)
    of_box = box_loss(raw.boxes, targets.boxes, anchors, codecs.in_cell)
    small = box_weight is None
    return _per_image(
        box=weight * (_emphasise_small(of_box, targets) if small else box_weight * of_box),
        objectness=_of_objectness(raw, targets, objects, anchors, ignore_iou, ignore_score),
        classes=weight * class_loss(raw.logits, _one_hot(targets, raw)),
    )


def yolox(
    raw: Raw,
    targets: Targets,
    objects: Objects,
    anchors: Anchors,
    *,
    rule: Rule,
    box_weight: float,
    box_loss: BoxLoss,
    class_loss: ClassLoss,
) -> Losses:
    """YOLOX's losses (section 2.1; as in its code), with SimOTA's assignment by `rule`.

    The count is the number of positives in the batch. Objectness: the target is 1 for these and 0
    for all others. Classes: the target is the IoU of the anchor's box with its object. Boxes:
    `box_loss` times `box_weight`, and "l1", the absolute error of the codes, which YOLOX adds in
    its last epochs (`step.late_losses`). `targets` know no predictions, and are not used.
    """
    del targets
    raw = _full(raw)
    seen = lax.stop_gradient(raw)
    predicted = codecs.from_cell.decode(seen.boxes, anchors)
    scores = jax.nn.sigmoid(seen.objectness), class_scores(seen.logits, class_loss)
    assign = lambda *of_image: simota(*of_image[:-1], anchors, of_image[-1], rule=rule)
    targets = jax.vmap(assign)(predicted, *scores, objects)
    weight = jnp.where(targets.positive, targets.weight, 0.0)
    iou = paired_iou(predicted, targets.boxes)
    present, absent = (
        binary_cross_entropy(raw.objectness, jnp.full_like(raw.objectness, target))
        for target in (1.0, 0.0)
    )
    codec, count = codecs.from_cell, targets.positive.sum()
    parts = {
        "box": box_weight * weight * box_loss(raw.boxes, targets.boxes, anchors, codec),
        "objectness": weight * present + jnp.where(targets.positive, 0.0, absent),
        "class": weight * class_loss(raw.logits, iou[..., None] * _one_hot(targets, raw)),
        "l1": weight * l1(raw.boxes, targets.boxes, anchors, codec),
    }
    return {name: (loss.sum(), count) for name, loss in parts.items()}


def _of_objectness(raw, targets, objects, anchors, ignore_iou, ignore_score) -> Array:
    """The loss [B, A] of YOLOv3's objectness; see there."""
    predicted = lax.stop_gradient(codecs.in_cell.decode(raw.boxes, anchors))
    ignored = jax.vmap(highest_iou)(predicted, objects) > ignore_iou  # [B, A]
    if ignore_score > 0:
        ignored &= raw.logits.max(axis=-1) > math.log(ignore_score / (1 - ignore_score))
    weight = jnp.where(targets.positive, targets.weight, 0.0)
    of_positives = weight * binary_cross_entropy(raw.objectness, jnp.ones_like(raw.objectness))
    of_negatives = binary_cross_entropy(raw.objectness, jnp.zeros_like(raw.objectness))
    return of_positives + jnp.where(targets.positive | ignored, 0.0, of_negatives)


def _best_of_cell(predicted: Array, target: Array, per_cell: int) -> Array:
    """Marks [B, A] the box of every cell that overlaps the target most, or else the nearest."""
    iou = paired_iou(predicted, target).reshape(
        len(predicted), -1, per_cell
    )  # [B, cells, per_cell]
    far = jnp.square(to_cxcywh(predicted) - to_cxcywh(target)).sum(axis=-1)
    fit = jnp.where((iou > 0).any(axis=-1, keepdims=True), iou, -far.reshape(iou.shape))
    return jax.nn.one_hot(fit.argmax(axis=-1), per_cell, dtype=bool).reshape(far.shape)


def _one_hot(targets: Targets, raw: Raw) -> Array:
    """The targets' classes [B, A, K], with as many classes as logits: one-hot, or with a 1 for each
    class of an anchor that can have several objects."""
    if targets.classes is not None:
        return targets.classes.astype(raw.logits.dtype)
    return jax.nn.one_hot(targets.labels, raw.logits.shape[-1], dtype=raw.logits.dtype)


def _emphasise_small(loss: Array, targets: Targets) -> Array:
    """A loss [B, A] times (2 - area of its object), as in darknet."""
    return loss * (2 - area(targets.boxes))


def _full(raw: Raw) -> Raw:
    full = jnp.promote_types(raw.logits.dtype, jnp.float32)
    return jax.tree.map(lambda x: x.astype(full), raw)


def _per_image(*, box: Array, objectness: Array, classes: Array) -> Losses:
    """The sums of three losses [B, A], each with the number of images."""
    count = jnp.full((), len(box), box.dtype)
    parts = {"box": box, "objectness": objectness, "class": classes}
    return {name: (loss.sum(), count) for name, loss in parts.items()}
