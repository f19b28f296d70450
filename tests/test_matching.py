"""Matching against the rule in plain loops, and its corners by hand."""

import jax
import numpy as np
import pytest

from jaxdet import backend
from jaxdet.boxes import matching
from jaxdet.types import Anchors, Objects

match = jax.jit(matching.match)


def make_anchors(corners):
    corners = np.array(corners, np.float32)
    boxes = np.concatenate(
        [(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], 1
    )
    return Anchors(boxes=boxes, cell=boxes)


def make_objects(boxes, mask=None):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    count = len(boxes)
    return Objects(
        boxes=boxes,
        labels=np.arange(count, dtype=np.int32) + 3,
        mask=np.ones(count, bool) if mask is None else np.array(mask),
        weight=np.arange(count, dtype=np.float32) / 8 + 0.5,
    )


def random_corners(rng, count, step=None):
    low, side = rng.uniform(0, 0.7, (count, 2)), rng.uniform(0.05, 0.3, (count, 2))
    corners = np.concatenate([low, low + side], 1)
    return np.round(corners / step) * step if step else corners


def iou(a, b):
    w = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    h = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h
    return w * h / (union + 1e-5)


def loop(corners, objects, threshold):
    """The owner of every anchor, -1 for none."""
    table = np.array([[iou(a, b) for b in objects.boxes] for a in corners.astype(np.float64)])
    table[:, ~objects.mask] = -1
    owner = np.where(table.max(1) >= threshold, table.argmax(1), -1)
    for n in np.flatnonzero(objects.mask):
        if table[:, n].max() > 0:
            owner[table[:, n].argmax()] = n
    return owner


def assert_targets(targets, objects, owner):
    positive = owner >= 0
    np.testing.assert_array_equal(targets.positive, positive)
    for field in ("boxes", "labels", "weight"):
        wanted = getattr(objects, field)[owner[positive]]
        np.testing.assert_array_equal(np.array(getattr(targets, field))[positive], wanted)
    assert not np.array(targets.ignore).any()


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("seed", range(4))
def test_against_loops(seed, threshold):
    rng = np.random.default_rng(seed)
    corners = random_corners(rng, 150)
    boxes = random_corners(rng, 12)
    mask = rng.uniform(size=12) < 0.7
    objects = make_objects(boxes, mask)  # padding in the middle, and not even empty
    targets = match(make_anchors(corners), objects, iou_threshold=threshold)
    assert_targets(targets, objects, loop(corners, objects, threshold))


def test_vmap_over_images_equals_one_by_one():
    rng = np.random.default_rng(9)
    anchors = make_anchors(random_corners(rng, 60))
    images = [make_objects(random_corners(rng, 6), np.arange(6) < count) for count in (6, 0, 1, 3)]
    batch = jax.tree.map(lambda *leaves: np.stack(leaves), *images)
    together = jax.jit(jax.vmap(lambda o: match(anchors, o)))(batch)
    for i, image in enumerate(images):
        alone = match(anchors, image)
        positive = np.array(alone.positive)
        np.testing.assert_array_equal(together.positive[i], positive)
        np.testing.assert_array_equal(together.boxes[i][positive], alone.boxes[positive])


def test_no_objects_make_no_positives():
    objects = make_objects(np.zeros((3, 4)), [False] * 3)
    targets = match(make_anchors([[0, 0, 1, 1], [0, 0, 0.5, 0.5]]), objects)
    assert not targets.positive.any()
    assert np.isfinite(targets.boxes).all()


def test_the_threshold_itself_is_positive():
    # IoU 0.7 / (1 + 0.7 - 0.7 + 1e-5), within a hair of 0.7.
    anchors = make_anchors([[0, 0, 1, 1], [0, 0, 1, 0.7]])
    objects = make_objects([[0, 0, 1, 0.7]])
    exact = float(np.float32(0.7) / (np.float32(1) + np.float32(1e-5)))
    at = match(anchors, objects, iou_threshold=exact - 1e-6)
    over = match(anchors, objects, iou_threshold=exact + 1e-6)
    np.testing.assert_array_equal(at.positive, [True, True])
    np.testing.assert_array_equal(over.positive, [False, True])


def test_equal_anchors_go_to_the_first():
    anchors = make_anchors([[0.5, 0.5, 1, 1], [0, 0, 0.5, 0.5], [0, 0, 0.5, 0.5]])
    targets = match(anchors, make_objects([[0.1, 0.1, 0.2, 0.2]]))
    np.testing.assert_array_equal(targets.positive, [False, True, False])


def test_an_anchor_between_equal_objects_goes_to_the_first():
    anchors = make_anchors([[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.45]])
    objects = make_objects([[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.5]])
    targets = match(anchors, objects)  # the better anchor goes to the later one, by the last rule
    np.testing.assert_array_equal(targets.labels, objects.labels[[1, 0]])


def test_the_later_object_gets_a_shared_best_anchor():
    anchors = make_anchors([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]])
    objects = make_objects([[0, 0, 0.5, 0.45], [0, 0, 0.2, 0.2]])
    targets = match(anchors, objects)
    np.testing.assert_array_equal(targets.positive, [True, False])
    assert targets.labels[0] == objects.labels[1]
    assert targets.weight[0] == objects.weight[1]


@pytest.mark.parametrize("mask", [None, [True, False, True, True, False, True, False]])
@pytest.mark.parametrize("kind", ["gpu", "tpu"])
def test_accelerators_take_another_form_of_the_same(kind, mask):
    rng = np.random.default_rng(0)
    anchors = make_anchors(random_corners(rng, 60, step=0.1))  # with many of the same IoU
    objects = make_objects(random_corners(rng, 7, step=0.1), mask)
    with backend.lowering_for("cpu"):
        loop_form = jax.jit(lambda *x: matching.match(*x)).trace(anchors, objects)
    with backend.lowering_for(kind):
        table_form = jax.jit(lambda *x: matching.match(*x)).trace(anchors, objects)
    assert "while[" in str(loop_form.jaxpr)
    assert "while[" not in str(table_form.jaxpr) and "argmax" in str(table_form.jaxpr)
    found, expected = (form.lower().compile()(anchors, objects) for form in (table_form, loop_form))
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_more_objects_than_anchors():
    rng = np.random.default_rng(3)
    corners = random_corners(rng, 5)
    objects = make_objects(random_corners(rng, 40))
    targets = match(make_anchors(corners), objects)
    assert_targets(targets, objects, loop(corners, objects, 0.5))


def test_an_object_that_touches_no_anchor_is_left_out():
    anchors = make_anchors([[0, 0, 0.5, 0.5], [0, 0, 0.4, 0.4]])
    targets = match(anchors, make_objects([[0.6, 0.6, 0.9, 0.9], [0.7, 0.7, 0.7, 0.7]]))
    assert not targets.positive.any()
