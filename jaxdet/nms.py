"""Greedy non-maximum suppression with fixed shapes: exact, and without a limit before it.

The greedy rule: walk the candidates by falling score; keep one unless a kept one covers it. Only
the first `max_kept` survivors are wanted, so the candidates are taken in chunks, best first, and
the walk ends with the chunk that fills the quota. Inside a chunk the rule is a fixed point: "kept
is what no kept, better one covers", repeated until nothing changes.
"""

import jax.numpy as jnp
from jax import lax

from jaxdet import boxes as boxes_
from jaxdet.types import Array, Detections

CHUNK = 256  # 128 to 512 take about as long on a CPU; larger wastes work when few are wanted


def nms(boxes: Array, scores: Array, *, iou_threshold: float, max_kept: int) -> tuple[Array, Array]:
    """Greedy NMS of boxes [n, 4] with scores [n], regardless of class.

    Returns the indices [max_kept] of the kept boxes by falling score (equal scores: lower index
    first), and which of them are valid [max_kept]; a score of -inf marks a box that does not count.
    """
    index, _, _, valid = _greedy(
        boxes, scores[:, None], floor=-jnp.inf, iou_threshold=iou_threshold, max_kept=max_kept
    )
    return index, valid


def multiclass(
    boxes: Array, scores: Array, *, score_threshold: float, iou_threshold: float, max_kept: int
) -> Detections:
    """Class-wise NMS of one picture: the best `max_kept` over all classes.

    Every (anchor, class) with a score above `score_threshold` is a candidate of its own: boxes
    [A, 4], scores [A, K]. Boxes are neither clipped nor dropped for their size. Equal scores are
    taken by anchor, then by class.
    """
    index, labels, kept, valid = _greedy(
        boxes,
        scores,
        floor=score_threshold,
        iou_threshold=iou_threshold,
        max_kept=max_kept,
    )
    return Detections(
        boxes=jnp.where(valid[:, None], boxes[index], 0.0),
        scores=jnp.where(valid, kept, 0.0),
        labels=labels,
        valid=valid,
    )


def _greedy(boxes, scores, *, floor, iou_threshold, max_kept):
    """Index, class, score and validity [max_kept] of what survives of scores [A, K] > floor."""
    boxes, scores = jnp.asarray(boxes), jnp.asarray(scores)
    chunk = min(CHUNK, scores.size)

    def unfinished(state):
        _, kept, more = state
        return more & (kept["count"] < max_kept)

    def step(state):
        remaining, kept, _ = state
        score, index, label = _best(remaining, chunk)
        candidate = score > floor  # [chunk]
        box = boxes[index]
        blocked = (
            _covers(kept["boxes"], kept["labels"], box, label, iou_threshold)
            & (jnp.arange(max_kept) < kept["count"])[:, None]
        )  # [max_kept, chunk]
        covers = jnp.triu(_covers(box, label, box, label, iou_threshold), 1)  # [chunk, chunk]
        survives = _fixed_point(candidate & ~blocked.any(0), covers)
        slot = jnp.where(survives, kept["count"] + jnp.cumsum(survives) - 1, max_kept)
        put = lambda old, new: old.at[slot].set(new, mode="drop")
        kept = {
            "boxes": put(kept["boxes"], box),
            "labels": put(kept["labels"], label),
            "scores": put(kept["scores"], score),
            "index": put(kept["index"], index),
            "count": kept["count"] + survives.sum(),
        }
        return remaining.at[index, label].set(-jnp.inf), kept, candidate[-1]

    kept = {
        "boxes": jnp.zeros((max_kept, 4), boxes.dtype),
        "labels": jnp.zeros(max_kept, jnp.int32),
        "scores": jnp.zeros(max_kept, scores.dtype),
        "index": jnp.zeros(max_kept, jnp.int32),
        "count": jnp.int32(0),
    }
    _, kept, _ = lax.while_loop(unfinished, step, (scores, kept, jnp.bool_(True)))
    valid = jnp.arange(max_kept) < kept["count"]
    return kept["index"], kept["labels"], kept["scores"], valid


def _best(scores, count):
    """The `count` best of scores [A, K], as (score, row, column); equal ones in index order.

    They all lie in the `count` rows with the best maxima, so two small top_k do for A * K scores.
    """
    _, rows = lax.top_k(scores.max(axis=1), min(count, scores.shape[0]))
    rows = jnp.sort(rows)
    best, place = lax.top_k(scores[rows].ravel(), count)
    return best, rows[place // scores.shape[1]], place % scores.shape[1]


def _covers(a, label_a, b, label_b, iou_threshold):
    """Whether a box of a [N, 4] and one of b [M, 4] overlap too much for one class: [N, M]."""
    same = label_a[:, None] == label_b[None, :]
    return same & (boxes_.pairwise_iou(a, b) > iou_threshold)


def _fixed_point(alive, covers):
    """The greedy survivors [n] of `alive` [n], where covers[i, j] says that i is better than j."""
    matrix = covers.astype(jnp.float32)

    def step(state):
        keep, _ = state
        covered = keep.astype(jnp.float32) @ matrix > 0
        return alive & ~covered, keep

    keep, _ = lax.while_loop(lambda state: (state[0] != state[1]).any(), step, step((alive, alive)))
    return keep
