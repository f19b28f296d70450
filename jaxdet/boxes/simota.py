"""SimOTA: which anchors learn which object depends on what the network predicts for them (YOLOX, Ge
et al. 2021, arXiv:2107.08430, section 2.1; rules as in github.com/Megvii-BaseDetection/YOLOX).

An object can have the anchors in its middle, and the others of an image at an extra cost. It takes
those that predict it best, as many as the IoUs of the ten best boxes add up to.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax import lax

from jaxdet import backend
from jaxdet.boxes.iou import area, pairwise_iou
from jaxdet.boxes.matching import end, targets_of
from jaxdet.types import Anchors, Array, Objects, Targets

MOST = 10  # anchors of an object
EXTRA = 1e5  # the cost of an anchor that is not in the middle of the object


@dataclasses.dataclass(frozen=True)
class Rule:
    """What the middle of an object is: which cells have their own middle there."""

    radius: float  # largest distance from the object's middle along either axis, in cells
    in_box: bool  # inside the box, too; then all that are in the box or near can be had, at a cost


RULES = {"released": Rule(2.5, in_box=True), "main": Rule(1.5, in_box=False)}  # of YOLOX's code


def middles(anchors: Anchors, objects: Objects, *, rule: Rule) -> Targets:
    """The anchors in the middle of each object, before anything is predicted.

    Of several objects the last counts. Anchors are [A], objects [N] with padding anywhere.
    """
    objects = jax.tree.map(jnp.asarray, objects)
    _, free = jax.vmap(lambda box: _places(anchors, box, rule))(objects.boxes)  # [N, A]
    free &= _usable(objects)[:, None]
    owner = jnp.where(free, jnp.arange(len(free))[:, None], -1).max(axis=0)
    return targets_of(objects, owner, positive=owner >= 0, ignore=jnp.zeros_like(owner, bool))


def simota(
    boxes: Array,
    objectness: Array,
    classes: Array,
    anchors: Anchors,
    objects: Objects,
    *,
    rule: Rule,
) -> Targets:
    """Assign the objects of one image to anchors by their predictions.

    Predicted are boxes [A, 4], objectness [A] and classes [A, K], the last two as probabilities.
    The anchors in the middle of any object, by `rule`, are candidates. An object takes those whose
    `costs` are lowest, as many as `how_many` says (equal costs: the first). An anchor that several
    take goes to the object, of all in the image, for which it costs least (equal costs: the first).
    An object without area is left out. Anchors are [A], objects [N] with padding anywhere.
    """
    objects = jax.tree.map(jnp.asarray, objects)
    usable = _usable(objects)
    absent = _cross_entropy_if_absent(objectness, classes)  # [A]
    candidates = _candidates(anchors, objects, usable, rule)

    def choose(n: Array) -> tuple[Array, Array]:
        """Which anchors [A] object n takes, and what each costs it [A]."""
        box, of_class = objects.boxes[n], classes[:, objects.labels[n]]
        iou = pairwise_iou(box[None], boxes)[0]
        cost = absent + _change_if_present(objectness, of_class) - 3 * jnp.log(iou + 1e-8)
        _, free = _places(anchors, box, rule)
        cost = jnp.where(candidates & usable[n], jnp.where(free, cost, cost + EXTRA), jnp.inf)
        return _cheapest(cost, how_many(iou, candidates)), cost

    if backend.target() == "cpu":

        def visit(n, state):
            times, taker, least, cheapest = state
            taken, cost = choose(n)
            return (
                times + taken,
                jnp.where(taken, n, taker),
                jnp.minimum(cost, least),
                jnp.where(cost < least, n, cheapest),
            )

        count = len(absent)
        none = jnp.zeros(count, jnp.int32)
        start = none, none, jnp.full(count, jnp.inf, absent.dtype), none
        times, taker, _, cheapest = lax.fori_loop(0, end(objects.mask), visit, start)
    else:
        taken, cost = jax.vmap(choose)(jnp.arange(len(usable)))  # [N, A] each
        times, taker, cheapest = taken.sum(axis=0), taken.argmax(axis=0), cost.argmin(axis=0)
    owner = jnp.where(times > 1, cheapest, taker)
    return targets_of(objects, owner, positive=times > 0, ignore=jnp.zeros(times.shape, bool))


def how_many(iou: Array, candidates: Array) -> Array:
    """How many anchors an object takes, from its IoU with what each anchor [A] predicts.

    The sum of the ten highest of the candidates, wherever these are, rounded down; at least one.
    """
    best, _ = _highest(jnp.where(candidates, iou, 0))
    return jnp.maximum(best.sum().astype(jnp.int32), 1)


def _cheapest(cost: Array, count: Array) -> Array:
    """Marks [A] the `count` lowest of the finite costs [A]."""
    least, place = _highest(-cost)
    chosen = (jnp.arange(len(place)) < count) & (least > -jnp.inf)
    place = jnp.where(chosen, place, cost.size)
    return jnp.zeros(cost.size, bool).at[place].set(True, mode="drop")


def _highest(values: Array) -> tuple[Array, Array]:
    """The MOST highest of the values [A] and their places; of equal values the first."""
    count = min(MOST, values.size)
    if backend.target() != "tpu":
        return lax.top_k(values, count)

    def take(left, _):  # for a TPU, XLA makes a sort of all values of top_k
        value, place = left.max(), left.argmax()
        return jnp.where(jnp.arange(values.size) == place, -jnp.inf, left), (value, place)

    return lax.scan(take, values, length=count)[1]


def _usable(objects: Objects) -> Array:
    return objects.mask & (area(objects.boxes) > 0)


def _places(anchors: Anchors, box: Array, rule: Rule) -> tuple[Array, Array]:
    """Which anchors [A] are candidates because of a box [4], and which are in its middle."""
    # In cells, counted from the top left, so that what is half a cell away is so without rounding.
    columns_rows = jnp.round(1 / anchors.cell[:, 2:])  # [A, 2]
    middle = jnp.round(anchors.cell[:, :2] * columns_rows) + 0.5
    low, high = box[None, :2] * columns_rows, box[None, 2:] * columns_rows
    near = (jnp.abs(middle - (low + high) / 2) < rule.radius).all(axis=1)
    if not rule.in_box:
        return near, near
    inside = ((middle > low) & (middle < high)).all(axis=1)
    return near | inside, near & inside


def _candidates(anchors: Anchors, objects: Objects, usable: Array, rule: Rule) -> Array:
    """The anchors [A] that are candidates because of any of the objects."""
    of_object = lambda n: _places(anchors, objects.boxes[n], rule)[0] & usable[n]
    if backend.target() == "cpu":
        none = jnp.zeros(len(anchors.cell), bool)
        return lax.fori_loop(0, end(objects.mask), lambda n, any_: any_ | of_object(n), none)
    return jax.vmap(of_object)(jnp.arange(len(usable))).any(axis=0)


def _log(probability: Array) -> Array:
    return jnp.maximum(jnp.log(probability), -100.0)  # as in PyTorch


def _cross_entropy_if_absent(objectness: Array, classes: Array) -> Array:
    """The binary cross entropy [A] of all classes [A, K] if none were there, summed."""
    return -_log(1 - jnp.sqrt(objectness[:, None] * classes)).sum(axis=1)


def _change_if_present(objectness: Array, of_class: Array) -> Array:
    """By how much that changes, [A], if one class is there, with the probability `of_class` [A]."""
    share = jnp.sqrt(objectness * of_class)
    return _log(1 - share) - _log(share)
