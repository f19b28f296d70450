"""The multibox loss against plain numpy, its mining against a sort, its gradients by sense."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdet.boxes import codecs
from jaxdet.boxes.anchors import prior_boxes
from jaxdet.losses import box, classes, mining, multibox
from jaxdet.types import Anchors, Objects, Raw, Targets

B, A, K = 3, 40, 5
CODEC = codecs.from_anchor()
NO_OBJECTS = Objects(  # multibox does not ask for them: the targets have all of them
    boxes=np.zeros((B, 0, 4), np.float32),
    labels=np.zeros((B, 0), np.int32),
    mask=np.zeros((B, 0), bool),
    weight=np.zeros((B, 0), np.float32),
)


def multibox_of(raw, targets, anchors, **options):
    return multibox.multibox(raw, targets, NO_OBJECTS, anchors, codec=CODEC, **options)


def make(seed=0, positives=(4, 0, 9)):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 0.5, (B, A, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.1, 0.5, (B, A, 2))], -1)
    centres = rng.uniform(0.2, 0.8, (A, 4))
    positive = np.stack([rng.permutation(A) < count for count in positives])
    targets = Targets(
        boxes=boxes.astype(np.float32),
        labels=rng.integers(0, K, (B, A)).astype(np.int32),
        positive=positive,
        ignore=(rng.uniform(size=(B, A)) < 0.2) & ~positive,
        weight=rng.uniform(0.2, 1, (B, A)).astype(np.float32),
    )
    raw = Raw(
        boxes=rng.normal(size=(B, A, 4)).astype(np.float32),
        logits=rng.normal(size=(B, A, K + 1)).astype(np.float32) * 3,
    )
    centres = centres.astype(np.float32)
    return raw, targets, Anchors(boxes=centres, cell=centres)


def mine(loss, positive, ignore, ratio):
    """The reference's rule: by falling loss, equal ones in order; with a ratio of 0 all count."""
    if ratio == 0:
        return ~positive & ~ignore
    order = sorted(np.flatnonzero(~positive & ~ignore), key=lambda i: (-loss[i], i))
    chosen = np.zeros(len(loss), bool)
    chosen[order[: ratio * positive.sum()]] = True
    return chosen


def smooth_l1(error):
    return np.where(np.abs(error) < 1, error**2 / 2, np.abs(error) - 0.5)


def cross_entropy(logits):
    """What each class costs if it is the right one."""
    return np.log(np.exp(logits).sum(-1, keepdims=True)) - logits


def bce(logits):
    """Column 0 is no class: the background is that none of the others is there."""
    of_classes = np.concatenate([0 * logits[..., :1], logits[..., 1:]], -1)
    return np.log1p(np.exp(logits[..., 1:])).sum(-1, keepdims=True) - of_classes


def reference(raw, targets, anchors, ratio, of_error=smooth_l1, of_logits=cross_entropy):
    cost = of_logits(raw.logits.astype(np.float64))
    codes = np.array(CODEC.encode(targets.boxes, anchors), np.float64)
    box = classes = 0.0
    for b in range(B):
        negative = mine(cost[b, :, 0], targets.positive[b], targets.ignore[b], ratio)
        for a in range(A):
            if targets.positive[b, a]:
                part = of_error(raw.boxes[b, a] - codes[b, a]).sum()
                box += targets.weight[b, a] * part
                classes += targets.weight[b, a] * cost[b, a, targets.labels[b, a] + 1]
            elif negative[a]:
                classes += cost[b, a, 0]
    return box, classes


@pytest.mark.parametrize("ratio", [0, 1, 3])
@pytest.mark.parametrize("positives", [(4, 0, 9), (1, 2, 3), (40, 30, 0)])
def test_multibox_against_loops(positives, ratio):
    raw, targets, anchors = make(sum(positives), positives)
    found = jax.jit(lambda r, t: multibox_of(r, t, anchors, negative_ratio=ratio))(raw, targets)
    box, classes = reference(raw, targets, anchors, ratio)
    np.testing.assert_allclose(found["box"][0], box, rtol=1e-5)
    np.testing.assert_allclose(found["class"][0], classes, rtol=1e-5)
    assert found["box"][1] == found["class"][1] == sum(positives)


@pytest.mark.parametrize("ratio", [0, 3])
def test_multibox_of_other_losses_against_loops(ratio):
    raw, targets, anchors = make()
    options = dict(box_loss=box.mse, class_loss=classes.bce, negative_ratio=ratio)
    found = jax.jit(lambda r, t: multibox_of(r, t, anchors, **options))(raw, targets)
    expected = reference(raw, targets, anchors, ratio, np.square, bce)
    np.testing.assert_allclose([found["box"][0], found["class"][0]], expected, rtol=1e-5)


@pytest.mark.parametrize("loss", [classes.bce, classes.focal, partial(classes.focal, gamma=1.0)])
@pytest.mark.parametrize("positives", [(4, 0, 9), (0, 0, 0)])
def test_a_sigmoid_leaves_the_background_out_and_needs_no_mining(loss, positives):
    """Also without a positive in the batch the loss and its gradient are finite."""
    raw, targets, anchors = make(positives=positives)

    def total(raw):
        found = multibox_of(raw, targets, anchors, class_loss=loss, negative_ratio=0)
        return sum(part / jnp.maximum(count, 1) for part, count in found.values())

    value, slope = jax.jit(jax.value_and_grad(total))(raw)
    moved = np.asarray(slope.logits) != 0
    assert np.isfinite(value) and value > 0 and np.isfinite(slope.logits).all()
    assert not moved[..., 0].any()
    np.testing.assert_array_equal(moved[..., 1:].all(-1), ~targets.ignore)


def one_wrong(loss):
    """The loss of a box as a function of the error of one of its four numbers."""
    itself = codecs.Codec(encode=lambda boxes, _: boxes, decode=lambda codes, _: codes)
    outputs = lambda error: jnp.zeros((1, 1, 4)).at[0, 0, 1].set(error)
    anchors = Anchors(boxes=np.zeros((1, 4)), cell=np.zeros((1, 4)))
    return lambda error: loss(outputs(error), jnp.zeros((1, 1, 4)), anchors, itself)[0, 0]


def test_smooth_l1_by_hand():
    """Of one number's error; the other three of a box are right."""
    error = jnp.array([0.0, 0.5, -0.5, 1.0, -3.0])
    np.testing.assert_allclose(
        jax.vmap(one_wrong(box.smooth_l1))(error), [0, 0.125, 0.125, 0.5, 2.5]
    )
    slope = jax.vmap(jax.grad(one_wrong(box.smooth_l1)))(error)
    np.testing.assert_allclose(slope, [0, 0.5, -0.5, 1, -1])


def test_mse_by_hand():
    error = jnp.array([0.0, 0.5, -0.5, 1.0, -3.0])
    np.testing.assert_allclose(jax.vmap(one_wrong(box.mse))(error), [0, 0.25, 0.25, 1, 9])


def test_cross_entropy_by_hand_and_of_extreme_logits():
    logits = jnp.array([[0.0, np.log(3.0)], [1000.0, 0.0], [1000.0, 0.0]])
    found = classes.cross_entropy(logits, jax.nn.one_hot(jnp.array([1, 0, 1]), 2))
    np.testing.assert_allclose(found, [-np.log(0.75), 0, 1000], atol=1e-6)


def test_class_losses_of_shares():
    """Targets need not be one class: under mixup, and with smoothed labels, they are shares."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 3, K)).astype(np.float32) * 3
    shares = rng.uniform(size=(2, 3, K)).astype(np.float32)
    found = classes.bce(logits, shares)
    p = 1 / (1 + np.exp(-logits))
    expected = -(shares * np.log(p) + (1 - shares) * np.log(1 - p)).sum(-1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    shares /= shares.sum(-1, keepdims=True)
    found = classes.cross_entropy(logits, shares)
    expected = optax.softmax_cross_entropy(logits, shares)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_label_smoothing():
    """Spread over the classes of a softmax; over presence and absence of a sigmoid's class."""
    rng = np.random.default_rng(0)
    logits, gradient = rng.normal(size=(2, 4, K)).astype(np.float32)
    targets = np.eye(K, dtype=np.float32)[[2, 0, 4, 2]]
    of_softmax, of_sigmoid = 0.9 * targets + 0.1 / K, 0.9 * targets + 0.05
    for loss, smoothed in (
        (classes.cross_entropy, of_softmax),
        (classes.bce, of_sigmoid),
        (classes.focal, of_sigmoid),
    ):
        for part in (loss, jax.grad(lambda *given, loss=loss, **o: loss(*given, **o).sum())):
            found = part(logits, targets, label_smoothing=0.1)
            np.testing.assert_allclose(found, part(logits, smoothed), rtol=1e-6, atol=1e-7)
        for wrong in (-0.1, 1.0):
            with pytest.raises(ValueError, match=r"label_smoothing is .* expected at least 0"):
                loss(logits, targets, label_smoothing=wrong)
    expected = jax.grad(lambda x: optax.softmax_cross_entropy(x, of_softmax).sum())(logits)
    found = jax.grad(lambda x: classes.cross_entropy(x, targets, label_smoothing=0.1).sum())(logits)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_focal_loss_of_shares():
    rng = np.random.default_rng(0)
    logits, shares = rng.normal(size=(2, 3, K)) * 3, rng.uniform(size=(2, 3, K))
    logits, shares = logits.astype(np.float32), shares.astype(np.float32)
    p = 1 / (1 + np.exp(-logits))
    cost = -(shares * np.log(p) + (1 - shares) * np.log(1 - p))
    right, weight = p * shares + (1 - p) * (1 - shares), 0.3 * shares + 0.7 * (1 - shares)
    found = classes.focal(logits, shares, alpha=0.3, gamma=1.5)
    np.testing.assert_allclose(found, (weight * (1 - right) ** 1.5 * cost).sum(-1), rtol=1e-5)
    plain = classes.focal(logits, shares, alpha=-1, gamma=0)
    np.testing.assert_allclose(plain, classes.bce(logits, shares), rtol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_loss_of_extreme_logits(gamma):
    """A power below 1 is infinitely steep where nothing is wrong."""
    logits = jnp.array([[-1e4, -100.0, -20.0, 0.0, 20.0, 100.0, 1e4]])
    for targets in (jnp.zeros_like(logits), jnp.ones_like(logits)):
        loss = lambda x, t=targets: classes.focal(x, t, gamma=gamma).sum()
        value, slope = jax.value_and_grad(loss)(logits)
        assert np.isfinite(value) and np.isfinite(slope).all()


PRIORS = prior_boxes(((2, 2),), (64, 64), priors=[[(20.0, 30.0), (40.0, 20.0)]])
CODECS = {
    "from_anchor": CODEC,
    "unit": codecs.from_anchor((1.0, 1.0)),
    "in_cell": codecs.in_cell,
    "roots": codecs.roots,
}


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("loss", [box.iou, box.giou, box.diou, box.ciou])
def test_box_losses_of_wild_outputs_have_finite_gradients(loss, codec):
    """At the start of training outputs may be of any size; a box may become a point or endless."""
    ends = [0.0, -100.0, 100.0, -40.0, 40.0, -3e38, 3e38]
    some = np.stack(np.meshgrid(*[ends] * 4), -1).reshape(-1, 1, 4)
    outputs = jnp.asarray(np.broadcast_to(some, (len(some), 8, 4)), jnp.float32)
    truth = np.float32([[0.1, 0.2, 0.5, 0.4], [0, 0, 0, 0], [0.3, 0.3, 0.3, 0.3], [0, 0, 1, 1]])
    truth = np.broadcast_to(np.concatenate([truth, truth]), outputs.shape)
    costs = lambda outputs: loss(outputs, truth, PRIORS, CODECS[codec])
    value, pull = jax.vjp(costs, outputs)
    (slope,) = pull(jnp.ones_like(value))
    assert np.isfinite(value).all() and np.isfinite(slope).all()
    assert (value >= -1e-5).all() and (value < 4).all()


@pytest.mark.parametrize("loss", [box.giou, box.diou, box.ciou])
def test_a_box_learns_from_afar_unless_it_is_the_plain_iou(loss):
    outputs, truth = jnp.zeros((1, 8, 4)), jnp.full((1, 8, 4), 3.0).at[..., 2:].set(3.2)
    slope = lambda loss: jax.grad(lambda o: loss(o, truth, PRIORS, CODEC).sum())(outputs)
    assert (np.asarray(slope(loss))[..., :2] < 0).all()  # towards the object
    assert not np.any(slope(box.iou))


@pytest.mark.parametrize("seed", range(5))
def test_mining_against_a_sort_with_many_ties(seed):
    rng = np.random.default_rng(seed)
    for levels in (1, 3, 1000):
        loss = rng.integers(0, levels, 200).astype(np.float32) / 7
        positive = rng.uniform(size=200) < rng.choice([0.0, 0.01, 0.1, 0.4])
        ignore = (rng.uniform(size=200) < 0.3) & ~positive
        found = jax.jit(lambda *a: mining.hard_negatives(*a, ratio=3))(loss, positive, ignore)
        np.testing.assert_array_equal(found, mine(loss, positive, ignore, 3))
        assert found.sum() <= 3 * positive.sum()


def test_a_background_loss_that_rounds_below_zero_still_counts_as_the_least():
    loss = np.array([-1e-7, 0.5, 0.0, 0.2], np.float32)
    positive = np.array([False, True, False, False])
    found = mining.hard_negatives(loss, positive, np.zeros(4, bool), ratio=3)
    np.testing.assert_array_equal(found, ~positive)


def gradients(raw, targets, anchors):
    def total(raw):
        parts = multibox_of(raw, targets, anchors)
        return sum(part / jnp.maximum(count, 1) for part, count in parts.values())

    return jax.jit(jax.value_and_grad(total))(raw)


def test_only_chosen_anchors_get_a_gradient():
    raw, targets, anchors = make()
    _, grads = gradients(raw, targets, anchors)
    moved = np.abs(np.array(grads.logits)).sum(-1) > 0
    np.testing.assert_array_equal(np.abs(np.array(grads.boxes)).sum(-1) > 0, targets.positive)
    np.testing.assert_array_equal(moved.sum(1), [16, 0, 36])
    assert not moved[targets.ignore].any()


def test_no_objects_cost_nothing_and_give_zero_gradients():
    raw, targets, anchors = make(positives=(0, 0, 0))
    targets = targets.replace(boxes=np.zeros_like(targets.boxes))
    value, grads = gradients(raw, targets, anchors)
    assert value == 0
    for leaf in jax.tree.leaves(grads):
        np.testing.assert_array_equal(leaf, np.zeros_like(leaf))


def test_half_precision_logits_are_summed_in_float32():
    raw, targets, anchors = make()
    half = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), raw)
    rounded = jax.tree.map(lambda x: x.astype(jnp.float32), half)
    run = jax.jit(lambda raw: multibox_of(raw, targets, anchors))
    a, b = run(half), run(rounded)
    assert a["class"][0].dtype == a["box"][0].dtype == jnp.float32
    np.testing.assert_allclose(a["class"][0], b["class"][0], rtol=1e-6)
