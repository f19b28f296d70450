"""Which anchor answers for which object."""

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

    A loop over the objects, not an IoU table [A, N]: the table of a batch falls out of the CPU's
    caches, and the loop ends with the last object while the table would pay for the padding.
    """
    corners = boxes.from_cxcywh(anchors.boxes)  # [A, 4]
    count = corners.shape[0]

    def visit(n, state):
        best_iou, best_object, best_anchor = state
        # The union's 1e-5 is the reference's: without it other anchors win ties.
        iou = boxes.pairwise_iou(corners, objects.boxes[n][None], epsilon=1e-5)[:, 0]  # [A]
        iou = jnp.where(objects.mask[n], iou, 0.0)
        highest = iou.max()
        # argmax is a scalar loop on CPU; two plain reductions say the same, three times faster.
        first = jnp.where(iou == highest, jnp.arange(count), count).min()
        return (
            jnp.maximum(best_iou, iou),
            jnp.where(iou > best_iou, n, best_object),
            best_anchor.at[n].set(jnp.where(highest > 0, first, count)),
        )

    slots = objects.mask.shape[0]
    last = jnp.where(objects.mask, jnp.arange(slots) + 1, 0).max()
    return lax.fori_loop(
        0,
        last,
        visit,
        (jnp.zeros(count), jnp.zeros(count, jnp.int32), jnp.full(slots, count)),
    )
