"""The losses and scores of YOLOv1, v2 and v3: by hand, and against plain loops."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_matching_yolo import BIG, TALL, WIDE, iou, logit, objects

from jaxdet import backend
from jaxdet.augment import fit
from jaxdet.boxes import codecs
from jaxdet.detectors.yolov1 import yolov1
from jaxdet.detectors.yolov2 import yolov2
from jaxdet.detectors.yolov3 import yolov3
from jaxdet.losses import box as box_losses
from jaxdet.losses import classes as class_losses
from jaxdet.types import Raw

CLASSES = ("a", "b", "c")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def bce(x, target):
    return -(target * np.log(sigmoid(x)) + (1 - target) * np.log(sigmoid(-x)))


def network(counts):
    return counts  # the maths below gets raw numbers


def family(name, **options):
    given = dict(size=256, classes=CLASSES, fit=fit.stretch, nms=len)
    if name == "yolov1":
        return yolov1(network, **given, **options)
    priors = ((WIDE, TALL, BIG),) if name == "yolov2" else ((WIDE, TALL), (BIG,))
    return {"yolov2": yolov2, "yolov3": yolov3}[name](network, priors=priors, **given, **options)


FAMILIES = ("yolov1", "yolov2", "yolov3")
GRIDS = {"yolov1": ((3, 3),), "yolov2": ((3, 3),), "yolov3": ((4, 4), (2, 2))}
WIDE_THING, TALL_THING = [0.6, 0.3, 0.25, 0.15], [0.1, 0.8, 0.1, 0.2]
THINGS = [WIDE_THING, TALL_THING, [0.62, 0.32, 0.5, 0.5], [0.9, 0.9, 0.1, 0.1]]


def setting(name, things, *, seed=0, weight=1.0, **options):
    """A detector, its anchors, the targets and objects of one image, and random predictions."""
    detector = family(name, **options)
    made = detector.anchors(GRIDS[name], (256, 256))
    rng = np.random.default_rng(seed)
    count = len(made.boxes)
    raw = Raw(
        boxes=rng.normal(size=(1, count, 4)).astype(np.float32),
        logits=rng.normal(size=(1, count, 3)).astype(np.float32),
        objectness=rng.normal(size=(1, count)).astype(np.float32),
    )
    truth = objects(things, weight=weight)
    assign = jax.jit(lambda *given: detector.assign(*given))  # a new function: traced anew
    targets = assign(made, truth)
    targets, truth = jax.tree.map(lambda x: np.asarray(x)[None], (targets, truth))
    return detector, made, targets, truth, raw


def losses(detector, made, targets, truth, raw):
    run = jax.jit(lambda *given: detector.losses(*given))  # likewise
    found = run(raw, targets, truth, made)
    assert {float(count) for _, count in found.values()} == {len(raw.logits)}
    return {name: float(total) for name, (total, _) in found.items()}


def centre_form(box):
    low, high = np.asarray(box[:2]), np.asarray(box[2:])
    return np.concatenate([(low + high) / 2, high - low])


def corners(x, y, w, h):
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


def yolov1_by_loops(made, targets, _, raw):
    box = sure = classes = 0.0
    codes, logits, objectness = raw.boxes[0], raw.logits[0], raw.objectness[0]
    for cell in range(len(codes) // 2):
        responsible = None
        if targets.positive[0, 2 * cell]:
            fits = []
            for a in (2 * cell, 2 * cell + 1):
                x0, y0, w, h = made.cell[a]
                x, y, rw, rh = codes[a]
                found = corners(x0 + x * w, y0 + y * h, rw**2, rh**2)
                truth = np.asarray(targets.boxes[0, a])
                far = ((centre_form(found) - centre_form(truth)) ** 2).sum()
                fits.append((iou(found, truth), -far, a))
            overlap, _, responsible = max(fits)
            weight = float(targets.weight[0, responsible])
            cx, cy, w, h = centre_form(truth)
            x0, y0, cw, ch = made.cell[responsible]
            wanted = [(cx - x0) / cw, (cy - y0) / ch, w**0.5, h**0.5]
            box += weight * 5 * ((codes[responsible] - wanted) ** 2).sum()
            sure += weight * (objectness[responsible] - overlap) ** 2
            wanted = np.eye(3)[targets.labels[0, responsible]]
            classes += weight * ((logits[responsible] - wanted) ** 2).sum()
        for a in (2 * cell, 2 * cell + 1):
            if a != responsible:
                sure += 0.5 * objectness[a] ** 2
    return {"box": box, "objectness": sure, "class": classes}


def decoded(made, codes, a):
    x0, y0, w, h = made.cell[a]
    x, y, tw, th = codes[a]
    pw, ph = made.boxes[a, 2:]
    return corners(x0 + sigmoid(x) * w, y0 + sigmoid(y) * h, np.exp(tw) * pw, np.exp(th) * ph)


def box_terms(made, targets, codes, a):
    """2 - area, the cross entropy of the centre, and the squared error of the sides."""
    cx, cy, w, h = centre_form(np.asarray(targets.boxes[0, a], np.float64))
    x0, y0, cw, ch = made.cell[a]
    at = bce(codes[a, :2], np.array([(cx - x0) / cw, (cy - y0) / ch])).sum()
    sides = ((codes[a, 2:] - np.log(np.array([w, h]) / made.boxes[a, 2:])) ** 2).sum()
    return 2 - w * h, at, sides


def yolov2_by_loops(made, targets, _, raw):
    box = sure = classes = 0.0
    codes, logits, objectness = raw.boxes[0], raw.logits[0], raw.objectness[0]
    for a in range(len(codes)):
        confidence = np.clip(sigmoid(objectness[a]), 1e-4, 1 - 1e-4)
        if targets.positive[0, a]:
            weight = float(targets.weight[0, a])
            overlap = iou(decoded(made, codes, a), np.asarray(targets.boxes[0, a]))
            share, at, sides = box_terms(made, targets, codes, a)
            box += weight * share * (at + sides)
            sure += weight * 5 * (confidence - overlap) ** 2
            p = np.exp(logits[a]) / np.exp(logits[a]).sum()
            classes -= weight * np.log(p[targets.labels[0, a]])
        elif not targets.ignore[0, a]:
            sure += confidence**2
    return {"box": box, "objectness": sure, "class": classes}


def yolov3_by_loops(made, targets, truth, raw, ignore_iou=0.5, smooth=0.0):
    box = sure = classes = 0.0
    ignored = 0
    codes, logits, objectness = raw.boxes[0], raw.logits[0], raw.objectness[0]
    for a in range(len(codes)):
        overlap = max(iou(decoded(made, codes, a), t) for t in truth.boxes[0, truth.mask[0]])
        if targets.positive[0, a]:
            weight = float(targets.weight[0, a])
            share, at, sides = box_terms(made, targets, codes, a)
            box += weight * share * (at + 0.5 * sides)
            sure += weight * bce(objectness[a], 1)
            wanted = np.where(np.eye(3)[targets.labels[0, a]] == 1, 1 - smooth, smooth)
            classes += weight * bce(logits[a], wanted).sum()
        elif overlap > ignore_iou:
            ignored += 1
        else:
            sure += bce(objectness[a], 0)
    return {"box": box, "objectness": sure, "class": classes}, ignored


@pytest.mark.parametrize("weight", [1.0, 0.3])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["yolov1", "yolov2"])
def test_losses_against_loops(name, seed, weight):
    detector, *rest = setting(name, THINGS, seed=seed, weight=weight)
    loops = {"yolov1": yolov1_by_loops, "yolov2": yolov2_by_loops}[name]
    expected = loops(*rest)
    found = losses(detector, *rest)
    assert found.keys() == expected.keys()
    for part, value in expected.items():
        assert found[part] == pytest.approx(value, rel=1e-4), part


@pytest.mark.parametrize("smooth, ignore_iou, weight", [(0, 0.5, 1), (0.1, 0.2, 1), (0, 0.2, 0.3)])
def test_yolov3_losses_against_loops(smooth, ignore_iou, weight):
    smoothed = partial(class_losses.bce, label_smoothing=2 * smooth)
    options = dict(class_loss=smoothed, ignore_iou=ignore_iou)
    detector, made, targets, truth, raw = setting("yolov3", THINGS, weight=weight, **options)
    codes = raw.boxes.copy()
    prior, other = 12, 13  # of the first thing's cell; the other prior's box is made to fit it too
    assert targets.positive[0, prior] and not targets.positive[0, other]
    thing = np.repeat(targets.boxes[0, prior : prior + 1], len(codes[0]), axis=0)
    wanted = np.asarray(codecs.encode_in_cell(thing, made))[other]
    codes[0, other] = [*logit(wanted[:2]), *wanted[2:]]
    raw = raw.replace(boxes=codes)
    expected, ignored = yolov3_by_loops(made, targets, truth, raw, ignore_iou, smooth)
    assert ignored > 0
    found = losses(detector, made, targets, truth, raw)
    for part, value in expected.items():
        assert found[part] == pytest.approx(value, rel=1e-4), part


def test_of_two_boxes_that_overlap_nothing_the_nearer_is_responsible():
    detector, made, targets, truth, raw = setting("yolov1", [[0.5, 0.5, 0.2, 0.2]])
    codes = np.zeros_like(raw.boxes)
    codes[0, 8:10] = [[3, 3, 0.1, 0.1], [2, 2, 0.1, 0.1]]  # the cell in the middle, far off
    raw = raw.replace(boxes=codes)
    loss = lambda boxes: detector.losses(raw.replace(boxes=boxes), targets, truth, made)["box"][0]
    slope = jax.jit(jax.grad(loss))
    np.testing.assert_array_equal(np.flatnonzero(np.abs(slope(codes)[0]).sum(-1)), [9])


@pytest.mark.parametrize("name", FAMILIES)
def test_box_codes_learn_from_the_box_loss_alone(name):
    """IoU targets and the choice of what is ignored pass no gradient."""
    detector, made, targets, truth, raw = setting(name, THINGS)

    def others(codes):
        found = detector.losses(raw.replace(boxes=codes), targets, truth, made)
        return found["objectness"][0] + found["class"][0]

    assert not np.any(jax.jit(jax.grad(others))(raw.boxes))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("things", [[], [[0.5, 0.5, 0, 0]]], ids=["none", "empty"])
def test_no_objects_and_empty_ones_are_background(name, things):
    detector, made, targets, truth, raw = setting(name, things)
    run = lambda raw: detector.losses(raw, targets, truth, made)
    total = lambda raw: sum(part for part, _ in run(raw).values())
    value, slope = jax.jit(jax.value_and_grad(total))(raw)
    assert value > 0
    assert not np.any(slope.boxes) and not np.any(slope.logits)
    assert np.isfinite(slope.objectness).all() and np.all(slope.objectness != 0)


@pytest.mark.parametrize("name", FAMILIES)
def test_images_add_up(name):
    detector, made, targets, truth, raw = setting(name, THINGS)
    _, _, fewer, one_thing, other = setting(name, THINGS[:1], seed=5)
    join = lambda a, b: jax.tree.map(lambda *x: np.concatenate(x), a, b)
    both = losses(detector, made, join(targets, fewer), join(truth, one_thing), join(raw, other))
    one = losses(detector, made, targets, truth, raw)
    two = losses(detector, made, fewer, one_thing, other)
    for part, value in both.items():
        assert value == pytest.approx(one[part] + two[part], rel=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_precision(name):
    detector, made, targets, truth, raw = setting(name, THINGS)
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), raw)
    rounded = jax.tree.map(lambda x: x.astype(np.float32), half)
    run = jax.jit(detector.losses)
    expected = run(rounded, targets, truth, made)
    for part, (total, _) in run(half, targets, truth, made).items():
        assert total.dtype == jnp.float32
        np.testing.assert_allclose(total, expected[part][0], rtol=1e-6)
    with jax.enable_x64(True):
        double = jax.tree.map(lambda x: x.astype(np.float64), raw)
        found = run(double, targets, truth, made)
    for part, (total, _) in found.items():
        assert total.dtype == jnp.float64
        expected = losses(detector, made, targets, truth, raw)[part]
        assert float(total) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_accelerators_match_and_lose_the_same(name):
    detector, made, targets, truth, raw = setting(name, THINGS)
    with backend.lowering_for("gpu"):
        _, _, found, _, _ = setting(name, THINGS)
        on_gpu = losses(detector, made, found, truth, raw)
    owned = targets.positive | targets.ignore
    assert owned.any()
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[owned], b[owned]), found, targets)
    np.testing.assert_array_equal(found.positive | found.ignore, owned)
    assert on_gpu == pytest.approx(losses(detector, made, targets, truth, raw), rel=1e-6)


def test_yolov1_scores_are_confidence_times_class_within_bounds():
    detector, made, _, _, raw = setting("yolov1", [])
    logits, objectness = np.zeros_like(raw.logits), np.zeros_like(raw.objectness)
    logits[0, 0], objectness[0, :3] = [0.5, -0.5, 1.5], [0.8, -0.2, 2]
    logits[0, 1], logits[0, 2] = [-1, -1, 1], [0.25, 1, 0]
    _, scores = jax.jit(detector.decode)(raw.replace(logits=logits, objectness=objectness), made)
    np.testing.assert_allclose(scores[0, :3], [[0.4, 0, 0.8], [0, 0, 0], [0.25, 1, 0]], atol=1e-6)


def test_scores_of_yolov2_sum_to_the_objectness_and_those_of_yolov3_need_not():
    for name in ("yolov2", "yolov3"):
        detector, made, _, _, raw = setting(name, [])
        _, scores = jax.jit(detector.decode)(raw, made)
        sure = sigmoid(raw.objectness)
        if name == "yolov2":
            np.testing.assert_allclose(np.sum(scores, -1), sure, rtol=1e-5)
        else:
            np.testing.assert_allclose(scores, sure[..., None] * sigmoid(raw.logits), rtol=1e-5)


def test_scores_follow_the_class_loss():
    for name, loss in (("yolov2", class_losses.bce), ("yolov3", class_losses.cross_entropy)):
        detector, made, _, _, raw = setting(name, [], class_loss=loss)
        _, scores = jax.jit(detector.decode)(raw, made)
        sure = sigmoid(raw.objectness)
        if name == "yolov3":
            np.testing.assert_allclose(np.sum(scores, -1), sure, rtol=1e-5)
        else:
            np.testing.assert_allclose(scores, sure[..., None] * sigmoid(raw.logits), rtol=1e-5)


@pytest.mark.parametrize("loss", [box_losses.yolov2, box_losses.yolov3])
def test_a_box_loss_of_logits_needs_direct_location(loss):
    family("yolov2", box_loss=loss)
    with pytest.raises(ValueError, match=f"'{loss.__name__}' needs direct_location.*use 'mse'"):
        family("yolov2", box_loss=loss, direct_location=False)


def test_without_direct_location_a_box_may_leave_its_cell():
    codes = np.zeros((1, 27, 4), np.float32)
    codes[0, 13] = [3, -2, 0, 0]  # TALL, 32 x 64 of 256, in the middle
    for direct, centre in ((True, None), (False, (0.5 + 3 / 8, 0.5 - 2 / 4))):
        detector, made, targets, truth, raw = setting("yolov2", THINGS, direct_location=direct)
        boxes, _ = jax.jit(detector.decode)(raw.replace(boxes=codes), made)
        cx, cy, w, h = centre_form(np.asarray(boxes[0, 13]))
        np.testing.assert_allclose([w, h], [1 / 8, 1 / 4], rtol=1e-6)
        if direct:
            assert 1 / 3 < cx < 2 / 3 and 1 / 3 < cy < 2 / 3
        else:
            np.testing.assert_allclose([cx, cy], centre, atol=1e-6)


@pytest.mark.parametrize("direct", [True, False])
def test_the_box_loss_is_least_where_the_box_is_the_object(direct):
    detector, made, targets, truth, raw = setting("yolov2", THINGS[:2], direct_location=direct)
    loss = lambda codes: detector.losses(raw.replace(boxes=codes), targets, truth, made)["box"][0]

    @jax.jit
    def descend(codes):
        step = lambda _, c: c - 0.1 * jax.grad(loss)(c)
        return jax.lax.fori_loop(0, 2000, step, codes)

    boxes, _ = jax.jit(detector.decode)(raw.replace(boxes=descend(jnp.asarray(raw.boxes))), made)
    positive = np.asarray(targets.positive[0])
    assert positive.sum() == 2
    np.testing.assert_allclose(boxes[0][positive], targets.boxes[0][positive], atol=1e-3)


def test_detectors_are_values():
    for name in FAMILIES:
        assert isinstance(hash(family(name)), int)
    assert family("yolov2").net == (3,) and family("yolov3").net == (2, 1)
    assert family("yolov1").net == (2,) and family("yolov1", boxes_per_cell=3).net == (3,)
