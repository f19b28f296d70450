"""SimOTA by hand and against plain loops; the reference's numbers are in test_golden_yolox."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdet import backend
from jaxdet.boxes import codecs, simota
from jaxdet.boxes.anchors import cells
from jaxdet.boxes.iou import pairwise_iou
from jaxdet.losses import box, classes, yolo
from jaxdet.training import parallel
from jaxdet.types import Objects, Raw

SIDE, CLASSES = 128, 3
ANCHORS = cells(((16, 16), (8, 8), (4, 4)), (SIDE, SIDE))
COUNT = len(ANCHORS.cell)
RULE = pytest.mark.parametrize("rule", simota.RULES.values(), ids=list(simota.RULES))
KIND = pytest.mark.parametrize("kind", ["cpu", "gpu", "tpu"])


def objects(pixels, labels=None, slots=8):
    """Objects of one image, from boxes in pixels."""
    count = len(pixels)
    padded = np.zeros((slots, 4), np.float32)
    padded[:count] = np.reshape(pixels, (-1, 4)) / SIDE
    given = np.zeros(slots, np.int32)
    given[:count] = range(count) if labels is None else labels
    mask = np.arange(slots) < count
    return Objects(padded, given % CLASSES, mask, mask.astype(np.float32))


def predictions(seed=0):
    """Boxes [A, 4], objectness [A] and classes [A, K] that a network might predict."""
    chance = np.random.default_rng(seed)
    codes = chance.normal(0, 0.5, (COUNT, 4)).astype(np.float32) + np.float32([0.5, 0.5, 1.5, 1.5])
    logits = chance.normal(-1, 1.5, (COUNT, 1 + CLASSES)).astype(np.float32)
    scores = np.asarray(jax.nn.sigmoid(logits))
    return np.asarray(codecs.from_cell.decode(codes, ANCHORS)), scores[:, 0], scores[:, 1:]


def assign(given, truth, rule, kind="cpu"):
    with backend.lowering_for(kind):
        run = jax.jit(functools.partial(simota.simota, anchors=ANCHORS, rule=rule))
        return jax.device_get(run(*given, objects=truth))


def by_loops(given, truth, rule):
    """The rule, anchor by anchor: which object each anchor gets, -1 for none."""
    boxes, objectness, scores = (np.asarray(x, np.float64) for x in given)
    corner, sides = np.split(np.asarray(ANCHORS.cell, np.float64), 2, axis=1)
    middle = corner + sides / 2
    real = np.flatnonzero(truth.mask)
    near, inside = np.zeros((2, len(real), COUNT), bool)
    cost, iou = np.zeros((len(real), COUNT)), np.asarray(pairwise_iou(truth.boxes[real], boxes))
    for n in real:
        x1, y1, x2, y2 = truth.boxes[n].astype(np.float64)
        for a in range(COUNT):
            off = np.abs(middle[a] - [(x1 + x2) / 2, (y1 + y2) / 2]) / sides[a]
            near[n, a] = (off < rule.radius).all()
            inside[n, a] = x1 < middle[a, 0] < x2 and y1 < middle[a, 1] < y2
            share = np.sqrt(scores[a] * objectness[a])
            right = np.arange(CLASSES) == truth.labels[n]
            of_class = -np.where(right, np.log(share), np.log(1 - share)).sum()
            cost[n, a] = of_class - 3 * np.log(iou[n, a] + 1e-8)
    candidate = (near | inside if rule.in_box else near).any(axis=0)
    cost += 1e5 * ~(near & inside if rule.in_box else near)
    cost[:, ~candidate] = np.inf
    taken = np.zeros((len(real), COUNT), bool)
    for n in real:
        best = np.sort(np.where(candidate, iou[n], 0))[::-1][:10]
        taken[n, np.argsort(cost[n])[: max(int(best.sum()), 1)]] = True
    taken[:, ~candidate] = False
    owner = np.where(taken.sum(0) > 1, cost.argmin(0), taken.argmax(0))
    return np.where(taken.any(0), owner, -1)


TRUTH = [[10, 12, 60, 70], [30, 20, 75, 66], [5, 80, 20, 96], [90, 90, 126, 127], [32, 24, 70, 70]]


@KIND
@RULE
@pytest.mark.parametrize("seed", range(3))
def test_against_plain_loops(rule, kind, seed):
    given, truth = predictions(seed), objects(TRUTH)
    expected = by_loops(given, truth, rule)
    targets = assign(given, truth, rule, kind)
    np.testing.assert_array_equal(targets.positive, expected >= 0)
    found = expected[targets.positive]
    np.testing.assert_array_equal(targets.boxes[targets.positive], truth.boxes[found])
    np.testing.assert_array_equal(targets.labels[targets.positive], truth.labels[found])
    assert len(set(found)) > 2


@KIND
@RULE
def test_padding_and_objects_without_area_change_nothing(rule, kind):
    given, truth = predictions(), objects(TRUTH)
    more = objects([*TRUTH, [40, 40, 40, 80]])
    gaps = jax.tree.map(lambda x: np.roll(x, 3, axis=0), truth)
    expected = assign(given, truth, rule, kind)
    for other in (more, gaps):
        found = assign(given, other, rule, kind)
        np.testing.assert_array_equal(found.positive, expected.positive)
        np.testing.assert_array_equal(
            found.boxes[found.positive], expected.boxes[expected.positive]
        )


@KIND
@RULE
def test_no_objects(rule, kind):
    assert not assign(predictions(), objects([]), rule, kind).positive.any()


def test_a_contested_anchor_goes_to_the_object_for_which_it_costs_least():
    """Two objects at one place, one anchor that predicts both well: the class decides."""
    boxes, objectness, scores = (x.copy() for x in predictions())
    truth = objects([[16, 16, 48, 48], [16, 16, 48, 48]], labels=[0, 1])
    boxes[:] = 0.9, 0.9, 0.95, 0.95  # far away
    (best,) = np.flatnonzero((np.abs(ANCHORS.cell[:, :2] * SIDE - 24) < 1).all(1))[:1]
    boxes[best], objectness[best], scores[best] = truth.boxes[0], 0.9, (0.1, 0.8, 0.1)
    targets = assign((boxes, objectness, scores), truth, simota.RULES["released"])
    assert targets.positive[best] and targets.labels[best] == 1
    assert targets.positive.sum() == 1  # the other ends without any, as in the reference


def test_an_object_takes_as_many_as_its_ious_add_up_to():
    iou = jnp.array([0.9, 0.8, 0.7, 0.65, 0.0, *[0.05] * 20])
    everywhere = jnp.ones(len(iou), bool)
    assert simota.how_many(iou, everywhere) == 3  # 3.05 and five times 0.05
    assert simota.how_many(iou, everywhere.at[0].set(False)) == 2
    assert simota.how_many(iou, ~everywhere) == 1
    assert simota.how_many(jnp.ones(30), jnp.ones(30, bool)) == 10


def test_middles_are_what_an_object_has_first():
    """A box of one cell of stride 16: by both rules the cells around its middle."""
    truth = objects([[48, 64, 64, 80]])
    where = lambda rule: np.asarray(
        simota.middles(ANCHORS, truth, rule=simota.RULES[rule]).positive
    )
    levels = lambda positive: [int(x.sum()) for x in np.split(positive, (256, 320))]
    assert levels(where("released")) == [4, 1, 0]  # also inside the box
    assert levels(where("main")) == [4, 9, 9]
    assert not simota.middles(ANCHORS, objects([]), rule=simota.RULES["main"]).positive.any()


@pytest.mark.parametrize("count", [0, 5])
def test_losses_have_finite_slopes_for_wild_predictions(count):
    chance = np.random.default_rng(0)
    wild = 1e4 * chance.normal(size=(1, COUNT, 5 + CLASSES)).astype(np.float32)
    raw = Raw(boxes=wild[..., :4], objectness=wild[..., 4], logits=wild[..., 5:])
    truth = jax.tree.map(lambda x: x[None], objects(TRUTH[:count]))
    how = dict(rule=simota.RULES["released"], box_weight=5.0)
    how.update(box_loss=box.yolox, class_loss=classes.bce)

    def total(raw):
        losses = yolo.yolox(raw, None, truth, ANCHORS, **how)
        return sum(value for value, _ in losses.values())

    value, slopes = jax.jit(jax.value_and_grad(total))(raw)
    assert np.isfinite(value) and all(np.isfinite(x).all() for x in jax.tree.leaves(slopes))
    assert (np.asarray(slopes.boxes) != 0).any() == (count > 0)


def test_eight_devices_assign_as_one():
    assert jax.device_count() == 8
    given = [np.stack(x) for x in zip(*(predictions(seed) for seed in range(8)), strict=True)]
    truth = [objects(TRUTH[: seed % 6]) for seed in range(8)]
    truth = jax.tree.map(lambda *x: np.stack(x), *truth)
    run = jax.jit(
        jax.vmap(
            lambda *of: (
                simota.simota(*of[:3], ANCHORS, of[3], rule=simota.RULES["released"]).positive
            )
        )
    )
    one = run(*given, truth)
    many = run(*parallel.shard_batch((*given, truth), parallel.mesh()))
    np.testing.assert_array_equal(one, many)
    np.testing.assert_array_equal(one.any(axis=1), [seed % 6 > 0 for seed in range(8)])
