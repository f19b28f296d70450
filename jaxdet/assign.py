"""Which anchor answers for which object."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jaxdet import boxes
from jaxdet.types import Anchors, Array, Objects, Targets


def match(anchors: Anchors, objects: Objects, *, iou_threshold: float = 0.5) -> Targets:
    """Assign the objects of one picture to anchors as SSD does (paper, section 2.2).

    An anchor answers for the object it overlaps most, if their IoU is at least `iou_threshold`
    (equal IoU: the first object). Beyond that, every object gets the anchor that overlaps it most
    (equal IoU: the first anchor); of two objects that want the same anchor the later one gets it.
    An object that touches no anchor is left out. Anchors [A], objects [N], padding anywhere.
    """
    objects = jax.tree.map(jnp.asarray, objects)
    iou, best_object, best_anchor = _best(anchors, objects)
    forced = jnp.full(iou.shape, -1).at[best_anchor].max(jnp.arange(best_anchor.size), mode="drop")
    owner = jnp.where(forced >= 0, forced, best_object)  # [A]
    return Targets(
        boxes=objects.boxes[owner],
        labels=objects.labels[owner],
        positive=(forced >= 0) | (iou >= iou_threshold),
        ignore=jnp.zeros(iou.shape, bool),
        weight=objects.weight[owner],
    )


def _best(anchors: Anchors, objects: Objects) -> tuple[Array, Array, Array]:
    """Per anchor the best IoU [A] and its object [A]; per object its best anchor [N], or A.

    On a CPU in a loop over the objects: the IoU table of a batch falls out of its caches, and pays
    for the padding. A GPU would wait for the host after every round.
    """
    corners = boxes.from_cxcywh(anchors.boxes)  # [A, 4]
    count = corners.shape[0]

    def iou_with(some: Array, mask: Array) -> Array:
        # The union's 1e-5 is the reference's: without it other anchors win ties.
        return jnp.where(mask[:, None], boxes.pairwise_iou(some, corners, epsilon=1e-5), 0.0)

    if jax.default_backend() != "cpu":
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

    return lax.fori_loop(
        0,
        _end(objects),
        visit,
        (jnp.zeros(count), jnp.zeros(count, int), jnp.full(len(objects.mask), count)),
    )


def _first_highest(iou: Array) -> Array:
    """The first place of the highest of iou [A]."""
    if jax.default_backend() == "cpu":  # argmax is a scalar loop there, three times as slow
        return jnp.where(iou == iou.max(), jnp.arange(len(iou)), len(iou)).min()
    # Elsewhere the two might be compiled apart, round otherwise, and nothing be the highest.
    return iou.argmax()


def by_shape(anchors: Anchors, objects: Objects, *, ignore_iou: float = math.inf) -> Targets:
    """Assign the objects of one picture to the priors of their cells (YOLO9000, section 2).

    Of all priors in the cell of every level that holds its centre, an object gets the one whose
    shape fits best (IoU with both at one place; equal IoU: the first). The others there whose IoU
    is above `ignore_iou` are ignored. Where objects want the same anchor differently, the last
    decides. An object without area, or with its centre outside the picture, is left out.
    """
    priors = _at_origin(anchors.boxes[:, 2:])

    def choose(inside: Array, sides: Array) -> tuple[Array, Array]:
        iou = boxes.pairwise_iou(priors, _at_origin(sides)[None])[:, 0]  # [A]
        iou = jnp.where(inside, iou, -1.0)
        return inside & (jnp.arange(len(iou)) == _first_highest(iou)), iou > ignore_iou

    return _one_by_one(anchors, objects, choose)


def by_cell(anchors: Anchors, objects: Objects) -> Targets:
    """Every anchor in the cell of an object's centre answers for it (YOLO, section 2).

    Of several objects in one cell the last counts; which are left out is as in `by_shape`.
    """
    return _one_by_one(anchors, objects, lambda inside, sides: (inside, inside))


def _one_by_one(
    anchors: Anchors, objects: Objects, choose: Callable[[Array, Array], tuple[Array, Array]]
) -> Targets:
    """The targets when objects say in turn which anchors they choose, and which they only claim.

    `choose` gets which anchors' cells hold an object's centre [A], and its sides [2]; it returns
    two masks [A]. A claimed anchor that its last object did not choose is ignored. A loop, not a
    table [A, N], for the reasons of `_best`.
    """
    objects = jax.tree.map(jnp.asarray, objects)
    boxes_cxcywh = boxes.to_cxcywh(objects.boxes)
    sound = objects.mask & (boxes_cxcywh[:, 2:] > 0).all(axis=-1)
    # Cells as whole numbers: with rounded borders some centres would have two cells, some none.
    columns_rows = jnp.round(1 / anchors.cell[:, 2:])  # [A, 2]
    cell = jnp.round(anchors.cell[:, :2] * columns_rows)

    def visit(n, state):
        owner, positive = state
        place = jnp.floor(boxes_cxcywh[n, :2][None] * columns_rows)
        inside = (place == cell).all(axis=-1) & sound[n]
        chosen, claimed = choose(inside, boxes_cxcywh[n, 2:])
        claimed |= chosen
        return jnp.where(claimed, n, owner), jnp.where(claimed, chosen, positive)

    start = jnp.full(len(cell), -1), jnp.zeros(len(cell), bool)
    owner, positive = lax.fori_loop(0, _end(objects), visit, start)
    return Targets(
        boxes=objects.boxes[owner],
        labels=objects.labels[owner],
        positive=positive,
        ignore=(owner >= 0) & ~positive,
        weight=objects.weight[owner],
    )


def _end(objects: Objects) -> Array:
    """The number of slots up to the last object."""
    return jnp.where(objects.mask, jnp.arange(objects.mask.shape[0]) + 1, 0).max()


def _at_origin(sides: Array) -> Array:
    """Boxes [..., 4] of the given sides [..., 2], all with one corner in common."""
    return jnp.concatenate([jnp.zeros_like(sides), sides], axis=-1)
