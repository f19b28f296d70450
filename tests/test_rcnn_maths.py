"""What the maths of Faster R-CNN must do for any numbers, without the reference's arrays."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdet import backend
from jaxdet.boxes import codecs, matching, nms, sampling
from jaxdet.boxes.anchors import grid_anchors
from jaxdet.boxes.iou import from_cxcywh
from jaxdet.boxes.proposals import as_anchors, propose
from jaxdet.losses import box, classes, rcnn
from jaxdet.types import Objects, Raw, Targets

SHAPE = (64, 96)
SETTINGS = dict(sizes=((16,), (32, 48)), ratios=(0.5, 1.0, 2.0))
ANCHORS = grid_anchors([(8, 12), (4, 6)], SHAPE, **SETTINGS)  # 288 and 144
COUNT = len(ANCHORS.boxes)
CORNERS = np.asarray(from_cxcywh(ANCHORS.boxes))
CODEC = codecs.from_anchor((1.0, 1.0))
KEY = jax.random.key(0)
RPN = dict(positive_iou=0.7, negative_iou=0.3, keep_best=True)
LIMITS = [RPN, dict(positive_iou=0.5, negative_iou=0.5), RPN | {"inside_only": True}]


slow = functools.partial(pytest.param, marks=pytest.mark.slow)


def make_objects(count, slots=64, seed=0, spread=False):
    """Objects [slots] on a coarse grid, so that some are equal; the first slots, or some of all."""
    chance = np.random.default_rng(seed)
    mask = np.arange(slots) < count
    mask = chance.permutation(mask) if spread else mask
    corner, sides = chance.integers(0, 12, (slots, 2)), chance.integers(2, 9, (slots, 2))
    boxes = np.where(mask[:, None], np.concatenate([corner, corner + sides], 1) / 20, 0)
    labels = np.where(mask, chance.integers(0, 3, slots), 0)
    weight = np.where(mask, chance.uniform(0.2, 1, slots), 0)
    return Objects(
        boxes.astype(np.float32), labels.astype(np.int32), mask, weight.astype(np.float32)
    )


@functools.cache
def matcher(limits, target):
    def match(objects):
        with backend.lowering_for(target):
            return matching.by_overlap(ANCHORS, objects, **dict(limits))

    return jax.jit(match)


def match(objects, limits, target="cpu"):
    return matcher(tuple(limits.items()), target)(objects)


# Anchors.


def test_anchors_by_hand():
    made = grid_anchors([(2, 3)], (20, 40), sizes=((8,),), ratios=(4.0, 1.0))
    # A cell is 40 // 3 = 13 wide and 20 // 2 = 10 high; 8 x 8 becomes 4 wide and 16 high.
    np.testing.assert_allclose(made.boxes[0] * [40, 20, 40, 20], [0, 0, 4, 16], atol=1e-5)
    np.testing.assert_allclose(made.boxes[5] * [40, 20, 40, 20], [26, 0, 8, 8], atol=1e-5)
    np.testing.assert_allclose(made.boxes[6] * [40, 20, 40, 20], [0, 10, 4, 16], atol=1e-5)
    np.testing.assert_allclose(made.cell[11] * [40, 20, 40, 20], [26, 10, 13, 10], atol=1e-5)
    given = dict(sizes=((9, 5),), ratios=(1.0,), strides=(16,), offset=0.5)
    half = grid_anchors([(1, 2)], (32, 32), **given).boxes * 32  # 4.5 and 2.5 become 4 and 2
    np.testing.assert_allclose(
        half, [[8, 8, s, s] for s in (8, 4)] + [[24, 8, s, s] for s in (8, 4)]
    )
    exact = grid_anchors([(1, 2)], (32, 32), **given, rounded=False).boxes * 32
    np.testing.assert_allclose(exact[:, 2], [9, 5, 9, 5])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(sizes=((8,),)), r"one entry per level in each list, found {'grids': 2, 'sizes': 1"),
        (dict(strides=(8,)), r"one entry per level in each list.*'strides': 1"),
        (dict(grids=[(8, 12), (0, 6)]), r"level 2 has \(0, 6\) cells in an input of \(64, 96\)"),
        (dict(grids=[(65, 12), (4, 6)]), r"level 1 has \(65, 12\) cells"),
    ],
)
def test_anchors_that_cannot_be(change, message):
    settings = dict(grids=[(8, 12), (4, 6)], shape=SHAPE) | SETTINGS | change
    with pytest.raises(ValueError, match=message):
        grid_anchors(**settings)


# Codes.


def test_the_largest_log_ratio():
    codes = np.full((COUNT, 4), 30, np.float32)
    sides = lambda codec: np.ptp(np.asarray(codec.decode(codes, ANCHORS)).reshape(-1, 2, 2), axis=1)
    clamped = codecs.from_anchor((1.0, 1.0), largest_log_ratio=2.0)
    np.testing.assert_allclose(sides(clamped), np.exp(2) * ANCHORS.boxes[:, 2:], rtol=1e-4)
    free = codecs.from_anchor((1.0, 1.0), largest_log_ratio=np.inf)
    assert (sides(free) > 1e10).all()
    largest = np.exp(codecs.LARGEST_LOG_RATIO) * ANCHORS.boxes[:, 2:]
    np.testing.assert_allclose(sides(CODEC), largest, rtol=1e-4)


def test_codes_of_regions_of_their_own():
    chance = np.random.default_rng(0)
    low = chance.uniform(0, 0.5, (2, 2, 7, 2))
    boxes, regions = np.concatenate([low, low + 0.3], -1).astype(np.float32)
    regions[1, 3] = regions[0, 2] = 0  # points
    codes = CODEC.encode(boxes, as_anchors(regions))
    one_by_one = [CODEC.encode(b, as_anchors(r)) for b, r in zip(boxes, regions, strict=True)]
    np.testing.assert_array_equal(codes, one_by_one)
    assert np.isfinite(codes).all()
    back = np.asarray(CODEC.decode(codes, as_anchors(regions)))
    usual = (regions[..., 2:] > 0).all(-1)
    np.testing.assert_allclose(back[usual], boxes[usual], atol=1e-6)
    of_classes = jax.tree.map(lambda x: x[:, :, None], as_anchors(regions))  # [2, 7, 1, 4]
    twice = np.repeat(np.asarray(codes)[:, :, None], 3, axis=2)
    decoded = CODEC.decode(twice, of_classes)
    np.testing.assert_array_equal(decoded, np.repeat(back[:, :, None], 3, axis=2))


# Matching.


def loop(objects, *, positive_iou, negative_iou, keep_best=False, inside_only=False):
    """Owner and label (1, 0, -1 ignored) of every anchor, in float64."""
    rows = np.flatnonzero(objects.mask)
    owner, label = np.zeros(COUNT, int), np.zeros(COUNT, int)
    inside = (CORNERS >= -1e-6).all(1) & (CORNERS <= 1 + 1e-6).all(1) | (not inside_only)
    if len(rows):
        side = np.minimum(CORNERS[:, None, 2:], objects.boxes[rows, 2:].astype(float))
        side = side - np.maximum(CORNERS[:, None, :2], objects.boxes[rows, :2])
        shared = np.maximum(side, 0).prod(-1)
        area = lambda boxes: (boxes[..., 2:] - boxes[..., :2]).prod(-1)
        iou = shared / (area(CORNERS)[:, None] + area(objects.boxes[rows]) - shared)
        owner = rows[(iou >= iou.max(1, keepdims=True) - 1e-7).argmax(1)]
        label = np.where(iou.max(1) < negative_iou - 1e-7, 0, -1)
        label[iou.max(1) >= positive_iou - 1e-7] = 1
        if keep_best:
            label[(iou >= iou[inside].max(0) * (1 - 1e-5)).any(1)] = 1
    return owner, np.where(inside, label, -1)


@pytest.mark.parametrize("limits", LIMITS, ids=["rpn", "roi", "inside"])
@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_matching_against_a_loop(limits, target):
    """From no objects to as many as there are slots, with padding in any of them."""
    for seed, count in enumerate((0, 1, 5, 64)):
        objects = make_objects(count, seed=seed, spread=True)
        found = match(objects, limits, target)
        owner, label = loop(objects, **limits)
        np.testing.assert_array_equal(found.positive, label == 1)
        np.testing.assert_array_equal(found.ignore, label == -1)
        own = label == 1
        for name in ("boxes", "labels", "weight"):
            expected = getattr(objects, name)[owner[own]]
            np.testing.assert_array_equal(np.asarray(getattr(found, name))[own], expected)
        assert own.any() == (count > 0) or not limits.get("keep_best")


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_padding_and_objects_without_area_change_nothing(target):
    few = make_objects(3)
    swapped = jax.tree.map(lambda x: np.roll(x, 40, axis=0), few)
    flat = few.boxes.copy()
    flat[3:] = [0.2, 0.3, 0.2, 0.9]
    with_flat = few.replace(boxes=flat, mask=np.ones(64, bool))
    expected = match(few, RPN, target)
    for objects in (swapped, with_flat):
        jax.tree.map(np.testing.assert_array_equal, match(objects, RPN, target), expected)
    padding = few.replace(
        boxes=np.where(few.mask[:, None], few.boxes, np.float32([[9, 9, 10, 10]]))
    )
    jax.tree.map(np.testing.assert_array_equal, match(padding, RPN, target), expected)


def test_an_object_that_overlaps_nothing_makes_all_positive():
    objects = make_objects(2)
    far = objects.replace(boxes=np.where(np.arange(64)[:, None] == 1, 9, objects.boxes) + 0.0)
    far.boxes[1, 2:] = 10
    assert match(far, RPN).positive.all()
    assert not match(far, LIMITS[1]).positive.all()
    inside = match(far, LIMITS[2])
    np.testing.assert_array_equal(inside.positive, ~np.asarray(inside.ignore))


def test_all_anchors_ignored():
    """None is inside: no best, nothing to draw, no loss and no gradient."""
    outside = as_anchors(CORNERS + np.float32(5))
    objects = make_objects(5)
    targets = jax.jit(functools.partial(matching.by_overlap, **LIMITS[2]))(outside, objects)
    assert targets.ignore.all() and not targets.positive.any()
    drawn = draws(targets.positive, ~targets.positive & ~targets.ignore)
    assert not drawn[0].any() and not drawn[1].any()
    raw = Raw(jnp.ones((1, COUNT, 4)), jnp.ones((1, COUNT, 1)))
    run = lambda raw: of_anchors(raw, jax.tree.map(lambda x: x[None], targets), drawn[0][None])
    with_losses = lambda raw: (total(run(raw)), run(raw))
    slope, losses = jax.jit(jax.grad(with_losses, has_aux=True))(raw)
    assert all(value == 0 and count == 0 for value, count in losses.values())
    assert not np.any(slope.boxes) and not np.any(slope.logits)


# Draws.

draws = jax.jit(functools.partial(sampling.draw, KEY, count=40, share=0.25))


@pytest.mark.parametrize(
    ("positives", "negatives", "expected"),
    [(100, 200, (10, 30)), (3, 200, (3, 37)), (0, 200, (0, 40)), (100, 5, (10, 5)), (0, 0, (0, 0))],
)
def test_how_many_are_drawn(positives, negatives, expected):
    order = np.random.default_rng(0).permutation(COUNT)
    positive, negative = order < positives, order >= COUNT - negatives
    drawn = draws(positive, negative)
    assert tuple(int(d.sum()) for d in drawn) == expected
    assert not (drawn[0] & ~positive).any() and not (drawn[1] & ~negative).any()
    plain = sampling.draw(KEY, positive, negative, count=40, share=0.25)
    jax.tree.map(np.testing.assert_array_equal, plain, drawn)
    index, valid = sampling.places(drawn[0] | drawn[1], count=40)
    np.testing.assert_array_equal(index[valid], np.flatnonzero(drawn[0] | drawn[1]))
    assert len(np.unique(index)) == len(index) == 40


def test_fewer_anchors_than_are_to_be_drawn():
    positive = np.arange(6) < 4
    drawn = sampling.draw(KEY, positive, ~positive, count=256, share=0.5)
    np.testing.assert_array_equal(drawn, [positive, ~positive])
    index, valid = sampling.places(drawn[0], count=256)
    np.testing.assert_array_equal(valid, np.arange(6) < 4)
    np.testing.assert_array_equal(index[valid], np.arange(4))


def test_the_draw_is_uniform_and_differs_per_key():
    positive = np.arange(60) % 3 == 0  # 20, of which 5 are drawn, and 15 of 40
    draw = functools.partial(sampling.draw, positive=positive, negative=~positive, count=20)
    keys = jax.random.split(KEY, 4000)
    drawn = jax.jit(jax.vmap(functools.partial(draw, share=0.25)))(keys)
    for one, among, share in ((drawn[0], positive, 5 / 20), (drawn[1], ~positive, 15 / 40)):
        often = np.asarray(one)[:, among].mean(axis=0)
        np.testing.assert_allclose(often, share, atol=5 * (share * (1 - share) / 4000) ** 0.5)
        both = np.asarray(one)[:, np.flatnonzero(among)[:2]].all(axis=1).mean()  # any two together
        n, k = among.sum(), share * among.sum()
        assert both == pytest.approx(k * (k - 1) / n / (n - 1), abs=0.025)
        assert len(np.unique(np.asarray(one)[:50], axis=0)) > 45


# Boxes per class.


def per_class(seed, classes=3, count=60):
    chance = np.random.default_rng(seed)
    low = chance.integers(0, 12, (count, classes, 2))
    boxes = np.concatenate([low, low + chance.integers(0, 8, low.shape)], -1) / 32
    return boxes.astype(np.float32), chance.integers(0, 40, (count, classes)).astype(
        np.float32
    ) / 40


@pytest.mark.parametrize("name", ["greedy", slow("diou"), slow("soft")])
def test_boxes_per_class_are_those_of_a_loop_over_the_classes(name):
    limits = dict(score_threshold=0.2, iou_threshold=0.3, max_kept=200)
    run = jax.jit(functools.partial(getattr(nms, name), **limits))
    for seed in range(3):
        boxes, scores = per_class(seed)
        found, of_classes = run(boxes, scores), set()
        for k in range(3):
            one = run(boxes[:, k], np.where(np.arange(3) == k, scores, -1.0).astype(np.float32))
            assert (np.asarray(one.labels)[one.valid] == k).all()
            of_classes |= rows(one)
        assert rows(found) == of_classes and len(of_classes) == found.valid.sum() > 20
        assert (np.diff(found.scores) <= 0).all()
        same = run(np.repeat(boxes[:, :1], 3, axis=1), scores)
        jax.tree.map(np.testing.assert_array_equal, same, run(boxes[:, 0], scores))


@pytest.mark.slow
def test_boxes_per_class_of_any_class():
    limits = dict(score_threshold=0.2, iou_threshold=0.3, max_kept=30)
    boxes, scores = per_class(0)
    best, first = scores.argmax(1), np.arange(len(scores))
    found = nms.agnostic(boxes, scores, **limits)
    expected = nms.agnostic(boxes[first, best], scores, **limits)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def rows(found):
    """The detections as a set of tuples."""
    every = np.concatenate([found.boxes, found.scores[:, None], found.labels[:, None]], axis=1)
    return set(map(tuple, np.asarray(every)[np.asarray(found.valid)].round(5)))


# Proposals.

LEVELS, REST = (288, 144), dict(shape=SHAPE, iou_threshold=0.5, score_threshold=0.3, min_side=6.0)
INSIDE = np.float32([0, 0.1, 0.9, 1])


@functools.cache
def proposer(before, after, small_first=False):
    limits = dict(before=before, after=after, small_first=small_first) | REST
    return jax.jit(functools.partial(propose, levels=LEVELS, inside=INSIDE, **limits))


def outputs(seed):
    chance = np.random.default_rng(seed)
    moved = CORNERS + chance.normal(0, 0.05, CORNERS.shape)
    logits = chance.normal(0, 1.5, COUNT)
    return moved.astype(np.float32), np.round(logits, 1 if seed % 2 else 9).astype(np.float32)


def reference(boxes, logits, before, after, small_first):
    """The boxes kept, by torchvision's steps, a candidate at a time."""
    boxes = boxes.clip(np.tile(INSIDE[:2], 2), np.tile(INSIDE[2:], 2))
    small = ((boxes[:, 2:] - boxes[:, :2]) * SHAPE[::-1] < REST["min_side"]).any(1)
    kept = []
    for start, count in ((0, 288), (288, 144)):
        rows = np.arange(start, start + count)
        rows = rows[~small[rows]] if small_first else rows
        rows = rows[np.argsort(-logits[rows], kind="stable")][:before]
        of_level = []
        for row in rows[~small[rows] & (1 / (1 + np.exp(-logits[rows])) >= 0.3)]:
            if all(overlap(boxes[row], boxes[other]) <= 0.5 for other in of_level):
                of_level.append(row)
        kept += of_level
    kept = np.array(kept)[np.argsort(-logits[kept], kind="stable")][:after]
    return boxes[kept], logits[kept]


def overlap(a, b):
    side = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    area = lambda box: (box[2:] - box[:2]).prod()
    return side.prod() / (area(a) + area(b) - side.prod())


@pytest.mark.parametrize(
    ("before", "after", "small_first"),
    [(100, 30, False), slow(100, 30, True), slow(60, 400, False), slow(60, 400, True)],
)
def test_proposals_against_a_loop(before, after, small_first):
    for seed in range(3):
        boxes, logits = outputs(seed)
        found, scores, valid = proposer(before, after, small_first)(boxes, logits)
        expected, of_expected = reference(boxes, logits, before, after, small_first)
        count = len(expected)
        np.testing.assert_array_equal(valid, np.arange(after) < count)
        np.testing.assert_array_equal(found[:count], expected)
        np.testing.assert_allclose(scores[:count], 1 / (1 + np.exp(-of_expected)), atol=1e-6)
        assert not np.any(found[count:]) and not np.any(scores[count:])


@pytest.mark.slow
def test_proposals_of_a_batch_and_without_jit():
    boxes, logits = map(np.stack, zip(*map(outputs, range(3)), strict=True))
    logits[1] = -9  # an image in which nothing is probable enough
    run = proposer(100, 30)
    one_by_one = [run(b, s) for b, s in zip(boxes, logits, strict=True)]
    together = jax.jit(jax.vmap(run))(boxes, logits)
    mapped = jax.jit(lambda *given: jax.lax.map(lambda one: run(*one), given))(boxes, logits)
    plain = run.__wrapped__(boxes[0], logits[0])
    jax.tree.map(np.testing.assert_array_equal, together, mapped)
    jax.tree.map(np.testing.assert_array_equal, together, batched(one_by_one))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), plain, one_by_one[0])
    assert together[2][1].sum() == 0 < together[2][0].sum()
    slope = jax.grad(lambda b, s: sum(x.sum() for x in run(b, s)[:2]), (0, 1))(boxes[0], logits[0])
    assert not np.any(slope[0]) and not np.any(slope[1])


def test_levels_that_do_not_add_up():
    boxes, logits = outputs(0)
    limits = dict(before=9, after=9, inside=INSIDE) | REST
    with pytest.raises(ValueError, match=r"432 scores for levels of \(288, 143\) anchors"):
        propose(boxes, logits, levels=(288, 143), **limits)


# Losses.


def batched(trees):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def total(losses):
    return sum(value for value, _ in losses.values())


of_anchors = lambda raw, targets, drawn: rcnn.rpn(
    raw, targets, drawn, ANCHORS, codec=CODEC, box_loss=box.smooth_l1
)


def assert_trains(run, raw, drawn):
    """Finite gradients at what is drawn and nowhere else; the same with jit and in bfloat16."""
    value, slope = jax.jit(jax.value_and_grad(lambda raw: total(run(raw))))(raw)
    np.testing.assert_allclose(total(run(raw)), value, rtol=1e-5)
    assert np.isfinite(value)
    for leaf in (slope.boxes, slope.logits):
        assert np.isfinite(leaf).all() and np.any(leaf)
        assert not np.any(np.asarray(leaf)[~drawn])
    assert (np.abs(slope.logits).sum(-1)[drawn] > 0).all()
    half = jax.eval_shape(run, jax.tree.map(lambda x: x.astype(jnp.bfloat16), raw))
    assert all(value.dtype == jnp.float32 for value, _ in half.values())
    wild = run(jax.tree.map(lambda x: x * 1e6, raw))
    assert all(np.isfinite(value) for value, _ in wild.values())


def test_losses_of_anchors_against_a_loop():
    """An image with objects and one without."""
    both = [match(make_objects(count, seed=2), RPN) for count in (8, 0)]
    drawn = [draws(t.positive, ~t.positive & ~t.ignore) for t in both]
    drawn = np.stack([np.asarray(positives | negatives) for positives, negatives in drawn])
    targets = batched(both)
    chance = np.random.default_rng(0)
    raw = Raw(*(jnp.asarray(chance.normal(size=(2, COUNT, n)), jnp.float32) for n in (4, 1)))
    run = lambda raw: of_anchors(raw, targets, drawn)
    of_class = of_box = 0.0
    codes = np.asarray(CODEC.encode(targets.boxes, ANCHORS))
    for b, a in zip(*np.nonzero(drawn), strict=True):
        logit, positive = float(raw.logits[b, a, 0]), targets.positive[b, a]
        weight = targets.weight[b, a] if positive else 1.0
        of_class += weight * np.log1p(np.exp(-logit if positive else logit))
        off = np.abs(np.asarray(raw.boxes)[b, a] - codes[b, a])
        of_box += positive * weight * np.where(off < 1, off**2 / 2, off - 0.5).sum()
    losses = run(raw)
    assert losses["rpn_class"][1] == losses["rpn_box"][1] == drawn.sum() == 80
    assert losses["rpn_class"][0] == pytest.approx(of_class, rel=1e-5)
    assert losses["rpn_box"][0] == pytest.approx(of_box, rel=1e-5)
    assert_trains(run, raw, drawn)


def test_losses_of_regions_against_a_loop():
    """Each region has a code for each class; padding is a point, and is not drawn."""
    chance = np.random.default_rng(1)
    shape, drawn = (2, 12), np.arange(24).reshape(2, 12) % 12 < 9
    low = chance.uniform(0, 0.5, (2, *shape, 2))
    regions, boxes = np.concatenate([low, low + 0.3], -1).astype(np.float32)
    regions[:, 9:] = 0
    positive = (chance.random(shape) < 0.4) & drawn
    labels = chance.integers(0, 3, shape)
    weight = chance.uniform(0.2, 1, shape).astype(np.float32)
    targets = Targets(boxes, labels, positive, ~drawn, weight)
    raw = Raw(
        jnp.asarray(chance.normal(size=(*shape, 3, 4)), jnp.float32),
        jnp.asarray(chance.normal(size=(*shape, 4)), jnp.float32),
    )
    settings = dict(codec=CODEC, box_loss=box.smooth_l1)

    def run(raw, class_loss=classes.cross_entropy):
        anchors = as_anchors(regions)
        return rcnn.roi(raw, targets, drawn, anchors, class_loss=class_loss, **settings)

    codes = np.asarray(CODEC.encode(boxes, as_anchors(regions)))
    log_shares = np.asarray(jax.nn.log_softmax(raw.logits))
    of_class = of_box = 0.0
    for b, r in zip(*np.nonzero(drawn), strict=True):
        factor = weight[b, r] if positive[b, r] else 1.0
        of_class -= factor * log_shares[b, r, (labels[b, r] + 1) * positive[b, r]]
        off = np.abs(np.asarray(raw.boxes)[b, r, labels[b, r]] - codes[b, r])
        of_box += positive[b, r] * factor * np.where(off < 1, off**2 / 2, off - 0.5).sum()
    losses = run(raw)
    assert losses["class"][1] == losses["box"][1] == 18
    assert losses["class"][0] == pytest.approx(of_class, rel=1e-5)
    assert losses["box"][0] == pytest.approx(of_box, rel=1e-5)
    assert_trains(run, raw, drawn)
    focal = lambda raw: run(raw, classes.focal)["class"][0]
    slope = np.asarray(jax.jit(jax.grad(focal))(raw).logits)
    assert not slope[..., 0].any() and np.isfinite(slope).all()  # the background is no class there


def test_smooth_l1_with_a_beta():
    codec = codecs.Codec(encode=lambda boxes, _: boxes, decode=len)
    error = jnp.array([0.0, 0.1, -0.25, 0.5, -2.0])
    loss = lambda error, beta: box.smooth_l1(
        error[None, :, None], np.zeros((1, 5, 1), np.float32), None, codec, beta=beta
    )[0]
    np.testing.assert_allclose(loss(error, 0.25), [0, 0.02, 0.125, 0.375, 1.875], rtol=1e-6)
    slope = jax.grad(lambda error: loss(error, 0.25).sum())(error)
    np.testing.assert_allclose(slope, [0, 0.4, -1, 1, -1], rtol=1e-6)
    for beta in (0, -1):
        with pytest.raises(ValueError, match=f"beta is {beta}, expected more than 0"):
            loss(error, beta)
