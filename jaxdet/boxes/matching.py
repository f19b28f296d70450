"""Which anchor is assigned to which object.

On a CPU a loop visits the objects and ends with the last of them: a batch's tables [N, A] do not
fit in its caches, and would spend time on padding. Accelerators use the tables: there a loop of
data-dependent length waits for the host after every iteration.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jaxdet import backend
from jaxdet.boxes.iou import area, from_cxcywh, pairwise_iou, to_cxcywh
from jaxdet.types import Anchors, Array, Objects, Targets

TIE = 1e-5  # by which share of them equal IoUs can differ: anchors are rounded fractions
ROUNDING = 1e-6  # by how much corners on the border of the input can lie outside

# (whether an anchor's cell contains an object's centre [A], the object's sides [2]) -> two masks
# [A]: the anchors that the object chooses, and those that it claims.
Choice = Callable[[Array, Array], tuple[Array, Array]]


def match(anchors: Anchors, objects: Objects, *, iou_threshold: float = 0.5) -> Targets:
    """Assign the objects of one image to anchors as SSD does (paper, section 2.2).

    An anchor is assigned the object that it overlaps most, if their IoU is at least `iou_threshold`
    (equal IoU: the first object). In addition, every object gets the anchor that overlaps it most
    (equal IoU: the first anchor); if two objects want the same anchor, the later one gets it. An
    object that overlaps no anchor is left out. Anchors are [A], objects [N] with padding anywhere.
    """
    objects = jax.tree.map(jnp.asarray, objects)
    iou, best_object, best_anchor = _best(anchors, objects)
    forced = jnp.full(iou.shape, -1).at[best_anchor].max(jnp.arange(best_anchor.size), mode="drop")
    owner = jnp.where(forced >= 0, forced, best_object)  # [A]
    return targets_of(
        objects,
        owner,
        positive=(forced >= 0) | (iou >= iou_threshold),
        ignore=jnp.zeros(iou.shape, bool),
    )


def _best(anchors: Anchors, objects: Objects) -> tuple[Array, Array, Array]:
    """Per anchor the best IoU [A] and its object [A]; per object the best anchor [N], A if none."""
    corners = from_cxcywh(anchors.boxes)  # [A, 4]
    count = corners.shape[0]

    def iou_with(some: Array, mask: Array) -> Array:
        # The reference adds 1e-5 to the union: without it other anchors win ties.
        return jnp.where(mask[:, None], pairwise_iou(some, corners, epsilon=1e-5), 0.0)

    if backend.target() != "cpu":
        iou = iou_with(objects.boxes, objects.mask)  # [N, A]
        best_anchor = jnp.where(iou.max(1) > 0, iou.argmax(1), count)
        return iou.max(0), iou.argmax(0), best_anchor

    def visit(n, state):
        best_iou, best_object, best_anchor = state
        iou = iou_with(objects.boxes[n][None], objects.mask[n][None])[0]  # [A]
        return (
            jnp.maximum(best_iou, iou),
            jnp.where(iou > best_iou, n, best_object),
            best_anchor.at[n].set(jnp.where(iou.max() > 0, _first_highest(iou), count)),
        )

    start = jnp.zeros(count), jnp.zeros(count, int), jnp.full(len(objects.mask), count)
    return lax.fori_loop(0, end(objects.mask), visit, start)


def _first_highest(iou: Array) -> Array:
    """The first index of the highest iou [A]."""
    if backend.target() == "cpu":  # argmax is a scalar loop there, three times as slow
        return jnp.where(iou == iou.max(), jnp.arange(len(iou)), len(iou)).min()
    # Elsewhere the two might be compiled separately and rounded differently, and nothing be equal.
    return iou.argmax()


def by_overlap(
    anchors: Anchors,
    objects: Objects,
    *,
    positive_iou: float,
    negative_iou: float,
    keep_best: bool = False,
    inside_only: bool = False,
) -> Targets:
    """Assign the objects of one image to anchors as both stages of Faster R-CNN do (section 3.1.2).

    An anchor is assigned the object that it overlaps most (equal IoU: the first object). It is
    positive if their IoU is at least `positive_iou`, negative if it is less than `negative_iou`,
    else ignored. With `keep_best` an anchor is also positive if no other has a higher IoU with some
    object, whether it is assigned that object or, overlapping it more, another; IoUs that rounding
    tells apart count as equal. So an object that overlaps no anchor makes all anchors positive, as
    in torchvision. With `inside_only` anchors that are not wholly inside the input are ignored and
    no object's best. An object without area is left out; without objects the others are negative.
    Anchors are [A], objects [N] with padding anywhere.
    """
    objects = jax.tree.map(jnp.asarray, objects)
    corners = from_cxcywh(anchors.boxes)  # [A, 4]
    usable = objects.mask & (area(objects.boxes) > 0)
    inside = ((corners >= -ROUNDING) & (corners <= 1 + ROUNDING)).all(axis=-1)
    eligible = inside if inside_only else jnp.ones_like(inside)

    def iou_with(boxes: Array, usable: Array) -> Array:  # [n, A], -1 where it does not count
        counts = usable[:, None] & eligible[None]
        return jnp.where(counts, pairwise_iou(boxes, corners), -1.0)

    def is_best(iou: Array) -> Array:
        best = iou.max(axis=1, keepdims=True)
        return (iou >= best * (1 - TIE)) & (iou >= 0)

    if backend.target() == "cpu":

        def visit(n, state):
            highest, owner, kept = state
            iou = iou_with(objects.boxes[n][None], usable[n][None])
            if keep_best:
                kept |= is_best(iou)[0]
            closer = iou[0] > highest
            return jnp.where(closer, iou[0], highest), jnp.where(closer, n, owner), kept

        count = len(corners)
        start = jnp.full(count, -1.0), jnp.zeros(count, int), jnp.zeros(count, bool)
        highest, owner, kept = lax.fori_loop(0, end(objects.mask), visit, start)
    else:
        iou = iou_with(objects.boxes, usable)  # [N, A]
        highest, owner = iou.max(axis=0), iou.argmax(axis=0)
        kept = is_best(iou).any(axis=0) if keep_best else False
    positive = (highest >= positive_iou) & eligible | kept
    negative = (highest < negative_iou) & eligible & ~positive
    return targets_of(objects, owner, positive=positive, ignore=~positive & ~negative)


def by_shape(anchors: Anchors, objects: Objects, *, ignore_iou: float = math.inf) -> Targets:
    """Assign the objects of one image to the priors of their cells (YOLO9000, section 2).

    Of all priors in the cells, one per level, that contain its centre, an object gets the one whose
    shape fits best (IoU with both at the same place; equal IoU: the first). The other priors there
    with an IoU above `ignore_iou` are ignored. If objects disagree about an anchor, the last one
    decides. An object without area, or with its centre outside the image, is left out.
    """
    priors = _at_origin(anchors.boxes[:, 2:])

    def choose(inside: Array, sides: Array) -> tuple[Array, Array]:
        iou = pairwise_iou(priors, _at_origin(sides)[None])[:, 0]  # [A]
        iou = jnp.where(inside, iou, -1.0)
        return inside & (jnp.arange(len(iou)) == _first_highest(iou)), iou > ignore_iou

    return _in_cells(anchors, objects, choose)


def by_shapes(
    anchors: Anchors,
    objects: Objects,
    *,
    priors: tuple[tuple[tuple[float, float], ...], ...],
    classes: int,
    spare_priors: tuple[tuple[float, float], ...] = (),
    match_iou: float = 1.0,
) -> Targets:
    """Assign the objects of one image to anchors as Darknet does for YOLOv3 and v4.

    Of the cells, one per level, that contain its centre, an object gets the anchors whose shape is
    the one that fits best (IoU with both at the same place; equal IoU: the first), and all others
    with an IoU above `match_iou` (YOLOv4, section 3.4, "using multiple anchors for a single ground
    truth"). Shapes are the `priors` of all levels, in pixels as in `anchors.prior_boxes`, and
    `spare_priors`, which no level has: an object that they fit best has no best anchor. If objects
    share an anchor, the last one gives its box, and `Targets.classes` has the classes of all. An
    object without area, or with its centre outside the image, is left out.
    """
    listed = jnp.array([shape for level in (spare_priors, *priors) for shape in level])
    scale = anchors.boxes[0, 2:] / jnp.array(priors[0][0])  # from pixels to fractions
    shapes = listed * scale[None]

    def choose(inside: Array, sides: Array) -> tuple[Array, Array]:
        truth = _at_origin(sides)[None]
        best = shapes[pairwise_iou(_at_origin(shapes), truth)[:, 0].argmax()]
        off = jnp.abs(anchors.boxes[:, 2:] - best[None])
        fits = (off < 1e-5 * best[None]).all(axis=-1)
        if match_iou < 1:
            fits |= pairwise_iou(_at_origin(anchors.boxes[:, 2:]), truth)[:, 0] > match_iou
        return inside & fits, inside & fits

    return _in_cells(anchors, objects, choose, classes=classes)


def by_cell(anchors: Anchors, objects: Objects) -> Targets:
    """Assign an object to every anchor in the cell that contains its centre (YOLO, section 2).

    If several objects are in one cell, the last counts; objects are left out as in `by_shape`.
    """
    return _in_cells(anchors, objects, lambda inside, sides: (inside, inside))


def _in_cells(anchors: Anchors, objects: Objects, choose: Choice, *, classes: int = 0) -> Targets:
    """The targets if every object chooses among the anchors in the cells that contain its centre.

    The last object that claims an anchor owns it; an anchor that its owner did not choose is
    ignored. With a number of `classes`, the targets have those of all objects that chose an anchor.
    """
    objects = jax.tree.map(jnp.asarray, objects)
    boxes_cxcywh = to_cxcywh(objects.boxes)
    usable = objects.mask & (boxes_cxcywh[:, 2:] > 0).all(axis=-1)
    # Cells as integers: with rounded borders some centres would be in two cells, some in none.
    columns_rows = jnp.round(1 / anchors.cell[:, 2:])  # [A, 2]
    cell = jnp.round(anchors.cell[:, :2] * columns_rows)

    def claims(box_cxcywh: Array, usable: Array) -> tuple[Array, Array]:
        place = jnp.floor(box_cxcywh[None, :2] * columns_rows)
        inside = (place == cell).all(axis=-1) & usable
        chosen, claimed = choose(inside, box_cxcywh[2:])
        return chosen, claimed | chosen

    if backend.target() == "cpu":

        def visit(n, state):
            owner, positive, seen = state
            chosen, claimed = claims(boxes_cxcywh[n], usable[n])
            if classes:
                label = objects.labels[n]
                seen = seen.at[:, label].set(seen[:, label] | chosen)
            return jnp.where(claimed, n, owner), jnp.where(claimed, chosen, positive), seen

        none = jnp.zeros(len(cell), bool)
        start = jnp.full(len(cell), -1), none, jnp.zeros((len(cell), classes), bool)
        owner, positive, seen = lax.fori_loop(0, end(objects.mask), visit, start)
    else:
        chosen, claimed = jax.vmap(claims)(boxes_cxcywh, usable)  # [N, A] each
        owner = jnp.where(claimed, jnp.arange(len(claimed))[:, None], -1).max(axis=0)
        positive = jnp.take_along_axis(chosen, jnp.maximum(owner, 0)[None], axis=0)[0]
        one_hot = jax.nn.one_hot(objects.labels, classes)  # [N, K]
        seen = chosen.T.astype(one_hot.dtype) @ one_hot > 0
    targets = targets_of(objects, owner, positive=positive, ignore=(owner >= 0) & ~positive)
    return targets.replace(classes=seen) if classes else targets


def highest_iou(boxes: Array, objects: Objects) -> Array:
    """The highest IoU of every box [A, 4] with any object [N] of one image: [A]."""
    truth = jnp.where(objects.mask[:, None], objects.boxes, 0.0)
    if backend.target() != "cpu":
        return pairwise_iou(boxes, truth).max(axis=1)

    def visit(n: Array, highest: Array) -> Array:
        return jnp.maximum(highest, pairwise_iou(boxes, truth[n][None])[:, 0])

    return lax.fori_loop(0, end(objects.mask), visit, jnp.zeros(len(boxes), boxes.dtype))


def targets_of(objects: Objects, owner: Array, *, positive: Array, ignore: Array) -> Targets:
    """The targets of anchors that belong to the objects `owner` [A]."""
    return Targets(
        boxes=objects.boxes[owner],
        labels=objects.labels[owner],
        positive=positive,
        ignore=ignore,
        weight=objects.weight[owner],
    )


def end(mask: Array) -> Array:
    """The number of slots up to the last object."""
    return jnp.where(mask, jnp.arange(mask.shape[0]) + 1, 0).max()


def _at_origin(sides: Array) -> Array:
    """Boxes [..., 4] with the given sides [..., 2], all with a corner at the origin."""
    return jnp.concatenate([jnp.zeros_like(sides), sides], axis=-1)
