"""Non-maximum suppression with fixed shapes: exact, with no limit on the candidates of its own.

The greedy rule: visit the candidates by descending score, and keep one unless a kept one covers it.
Only the first `max_kept` survivors are needed, so the candidates are processed in chunks, best
first, up to the chunk that fills the quota. Within a chunk the rule is a fixed-point iteration:
keep what no better, kept candidate covers, until nothing changes.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax

from jaxdet.boxes.iou import pairwise_iou
from jaxdet.types import Array

CHUNK = 256  # 128 to 512 take about as long on a CPU; larger wastes work when few are kept


def nms(boxes: Array, scores: Array, *, iou_threshold: float, max_kept: int) -> tuple[Array, Array]:
    """Greedy NMS of boxes [n, 4] with scores [n], regardless of class.

    Returns the indices [max_kept] of the kept boxes by descending score (equal scores: lower
    index first), and which of them are valid [max_kept]; a box with a score of -inf does not count.
    """
    return greedy_places(
        boxes, scores[:, None], floor=-jnp.inf, iou_threshold=iou_threshold, max_kept=max_kept
    )


def greedy_places(
    boxes: Array,
    scores: Array,
    *,
    floor: float,
    iou_threshold: float,
    max_kept: int,
    overlap: Callable[[Array, Array], Array] = pairwise_iou,
) -> tuple[Array, Array]:
    """The indices into the flattened scores [A, K] of what greedy NMS keeps, class by class.

    Boxes are [A, 4] or, if each class has its own, [A, K, 4]. Returns the indices [max_kept], zero
    beyond the last, and which of them are valid [max_kept]. Scores not above `floor` do not count.
    `overlap` is what `iou_threshold` is compared with, of boxes [N, 4] and [M, 4]: [N, M].
    """
    boxes, scores = jnp.asarray(boxes), jnp.asarray(scores)
    classes = scores.shape[1]
    box_at = lambda place: boxes_at(boxes, place, classes)

    def covers(first, second):  # places [n] and [m] -> which overlap too much, in one class [n, m]
        same_class = (first % classes)[:, None] == (second % classes)[None]
        return same_class & (overlap(box_at(first), box_at(second)) > iou_threshold)

    def unfinished(state):
        _, count, _, (worst, _) = state
        return (count < max_kept) & (worst > floor)

    def walk(state):
        kept, count, maxima, last = state
        # The best candidates are in the rows with the best maxima, so two small top_k suffice.
        chunk = min(CHUNK, scores.size)
        rows = jnp.sort(lax.top_k(maxima, min(chunk, len(maxima)))[1])
        places = rows[:, None] * classes + jnp.arange(classes, dtype=jnp.int32)[None]
        left = _after(last, scores[rows], places)
        score, at = lax.top_k(left.ravel(), chunk)
        place = places.ravel()[at]

        covered = covers(kept, place) & (jnp.arange(max_kept) < count)[:, None]
        alive = (score > floor) & ~covered.any(axis=0)  # [chunk]
        survives = _fixed_point(alive, jnp.triu(covers(place, place), 1))
        slot = jnp.where(survives, count + jnp.cumsum(survives) - 1, max_kept)
        kept = kept.at[slot].set(place, mode="drop")

        # min, not [-1]: a slice of top_k's result makes XLA sort all scores instead.
        worst = score.min()
        last = worst, jnp.where(score == worst, place, -1).max()
        maxima = maxima.at[rows].set(_after(last, left, places).max(axis=1))
        return kept, count + survives.sum(dtype=jnp.int32), maxima, last

    first = jnp.array(jnp.inf, scores.dtype), jnp.int32(-1)
    start = jnp.zeros(max_kept, jnp.int32), jnp.int32(0), scores.max(axis=1), first
    kept, count, _, _ = lax.while_loop(unfinished, walk, start)
    return kept, jnp.arange(max_kept) < count


def soft_places(
    boxes: Array,
    scores: Array,
    *,
    floor: float,
    max_kept: int,
    decay: Callable[[Array], Array],
) -> tuple[Array, Array, Array]:
    """The indices into the flattened scores [A, K] that soft NMS picks, class by class.

    The highest score is picked, and `decay` of the IoU [A] multiplies the other scores of its
    class; then the highest of what is left, `max_kept` times. Boxes are [A, 4] or [A, K, 4].
    Returns the indices, zero beyond the last that is valid, the scores that they had when picked,
    and which of them are valid, that is, above `floor`, [max_kept] each.
    """
    boxes, scores = jnp.asarray(boxes), jnp.asarray(scores)
    classes = scores.shape[1]

    def pick(state, _):
        left, best, anchors = state  # [K, A]; the highest of each class and where it is, [K]
        places = anchors * classes + jnp.arange(classes, dtype=anchors.dtype)
        place = jnp.where(best == best.max(), places, scores.size).min()
        anchor, label = jnp.divmod(place, classes)
        of_label = boxes if boxes.ndim == 2 else boxes[:, label]
        factor = decay(pairwise_iou(of_label[anchor][None], of_label)[0])
        of_class = left[label]
        of_class = jnp.where(of_class > -jnp.inf, of_class * factor, -jnp.inf)  # not -inf x 0
        of_class = of_class.at[anchor].set(-jnp.inf)
        state = (
            left.at[label].set(of_class),
            best.at[label].set(of_class.max()),
            anchors.at[label].set(of_class.argmax()),
        )
        return state, (place, best.max())

    start = scores.T, scores.max(axis=0), scores.argmax(axis=0)
    _, (places, picked) = lax.scan(pick, start, length=max_kept)
    valid = picked > floor
    return jnp.where(valid, places, 0), picked, valid


def best_of_each_class(scores: Array, candidates: int, *, floor: float) -> Array:
    """The scores [A, K] with all but the best `candidates` of each class at -inf.

    Of equal scores those of the first anchors are kept. Where no class has more scores above
    `floor`, which do not count anyway, nothing is changed.
    """
    if candidates >= len(scores):
        return scores

    def limited(scores: Array) -> Array:
        _, anchors = lax.top_k(scores.T, candidates)  # [K, candidates]
        labels = jnp.arange(scores.shape[1])
        chosen = jnp.zeros(scores.shape, bool).at[anchors, labels[:, None]].set(True)
        return jnp.where(chosen, scores, -jnp.inf)

    too_many = ((scores > floor).sum(axis=0) > candidates).any()
    return lax.cond(too_many, limited, lambda scores: scores, scores)


def boxes_at(boxes: Array, place: Array, classes: int) -> Array:
    """The boxes [M, 4] at indices [M] into scores [A, K], of boxes [A, 4] or [A, K, 4]."""
    return boxes[place // classes] if boxes.ndim == 2 else boxes.reshape(-1, 4)[place]


def _after(last, scores, places):
    """The scores that come after `last`, a score and a place, and -inf for the others.

    Candidates are ordered by descending score, then by place.
    """
    score, place = last
    return jnp.where((scores < score) | ((scores == score) & (places > place)), scores, -jnp.inf)


def _fixed_point(alive, covers):
    """The greedy survivors [n] of `alive` [n]; covers[i, j] means that i is better and covers j."""
    matrix = covers.astype(jnp.float32)

    def narrow(state):
        keep, _ = state
        covered = keep.astype(jnp.float32) @ matrix > 0
        return alive & ~covered, keep

    changes = lambda state: (state[0] != state[1]).any()
    keep, _ = lax.while_loop(changes, narrow, narrow((alive, alive)))
    return keep
