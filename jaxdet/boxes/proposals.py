"""The regions that the first stage of a two-stage detector proposes to the second."""

import itertools

import jax
import jax.numpy as jnp
from jax import lax

from jaxdet.boxes.iou import to_cxcywh
from jaxdet.boxes.suppression import nms
from jaxdet.types import Anchors, Array


def propose(
    boxes: Array,
    scores: Array,
    *,
    levels: tuple[int, ...],
    shape: tuple[int, int],
    inside: Array,
    before: int,
    after: int,
    iou_threshold: float,
    score_threshold: float,
    min_side: float | Array,
    small_first: bool = False,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The regions of one image, out of an RPN's decoded boxes [A, 4] (Faster R-CNN, section 3.3).

    `scores` [A] are logits; `levels` are the numbers of anchors of each level, which follow one
    another. Of each level the `before` best count. They are clipped to `inside` [4], the image in
    an input of `shape` (height, width) pixels; those with a side of less than `min_side` pixels or
    a probability of less than `score_threshold` are dropped; then NMS within a level drops those
    that a better one overlaps by more than `iou_threshold` (torchvision's order). With
    `small_first` boxes that are too small are dropped before the best are chosen (chenyuntc).

    Returns the `after` best of all levels: boxes [after, 4] as fractions of the input,
    probabilities [after] and which are valid [after], by falling score (equal scores: by level,
    then by anchor), zeros where not valid. They take no gradient. ValueError if the levels do not
    add up to A.
    """
    if sum(levels) != len(scores):
        raise ValueError(f"{len(scores)} scores for levels of {levels} anchors")
    boxes, scores = lax.stop_gradient((jnp.asarray(boxes), jnp.asarray(scores)))
    inside = jnp.asarray(inside, boxes.dtype)[None]
    pixels = jnp.asarray(shape[::-1], boxes.dtype)[None]  # width, height
    ends = tuple(itertools.accumulate(levels))

    def clipped(boxes: Array) -> Array:
        return jnp.clip(boxes, jnp.tile(inside[:, :2], 2), jnp.tile(inside[:, 2:], 2))

    def too_small(boxes: Array) -> Array:
        return ((boxes[:, 2:] - boxes[:, :2]) * pixels < min_side).any(axis=-1)

    if small_first:
        scores = jnp.where(too_small(clipped(boxes)), -jnp.inf, scores)

    def of_level(end: int, count: int) -> tuple[Array, Array]:
        score, index = lax.top_k(scores[end - count : end], min(before, count))
        box = clipped(boxes[index + end - count])
        dropped = too_small(box) | (jax.nn.sigmoid(score) < score_threshold)
        score = jnp.where(dropped, -jnp.inf, score)
        most = min(after, len(score))
        place, valid = nms(box, score, iou_threshold=iou_threshold, max_kept=most)
        return box[place], jnp.where(valid, score[place], -jnp.inf)

    kept = [of_level(end, count) for end, count in zip(ends, levels, strict=True)]
    of_all, logits = (jnp.concatenate(part) for part in zip(*kept, strict=True))
    missing = max(after - len(logits), 0)
    logits = jnp.pad(logits, (0, missing), constant_values=-jnp.inf)
    of_all = jnp.pad(of_all, ((0, missing), (0, 0)))
    best, index = lax.top_k(logits, after)
    valid = best > -jnp.inf
    return jnp.where(valid[:, None], of_all[index], 0.0), jax.nn.sigmoid(best), valid


def as_anchors(regions: Array) -> Anchors:
    """Regions [..., R, 4] as anchors: what the second stage's boxes and codes refer to."""
    corner, sides = regions[..., :2], regions[..., 2:] - regions[..., :2]
    return Anchors(boxes=to_cxcywh(regions), cell=jnp.concatenate([corner, sides], axis=-1))
