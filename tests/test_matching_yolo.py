"""Priors, codes and matching of the YOLO family: by hand, and against plain loops."""

import jax
import numpy as np
import pytest

from jaxdet import backend
from jaxdet.boxes import anchors, codecs, matching
from jaxdet.boxes.iou import paired_iou
from jaxdet.types import Objects

WIDE, TALL, BIG = (64.0, 32.0), (32.0, 64.0), (128.0, 128.0)


def objects(boxes_cxcywh, *, weight=1.0, slots=6):
    """The objects of one image with the labels 0, 1, 2, 0, ..."""
    count = len(boxes_cxcywh)
    boxes = np.zeros((slots, 4), np.float32)
    centre, side = np.split(np.array(boxes_cxcywh, np.float32).reshape(-1, 4), 2, axis=1)
    boxes[:count] = np.concatenate([centre - side / 2, centre + side / 2], axis=1)
    mask = np.arange(slots) < count
    labels = np.where(mask, np.arange(slots) % 3, 0).astype(np.int32)
    return Objects(boxes, labels, mask, np.where(mask, weight, 0).astype(np.float32))


def logit(p):
    return np.log(p / (1 - p))


def iou(a, b):
    w = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    h = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h
    return w * h / union if union > 0 else 0.0


def test_priors_by_hand():
    made = anchors.prior_boxes(((1, 2), (1, 1)), (128, 128), priors=((WIDE, TALL), (BIG,)))
    expected = [
        [0.25, 0.5, 0.5, 0.25],
        [0.25, 0.5, 0.25, 0.5],
        [0.75, 0.5, 0.5, 0.25],
        [0.75, 0.5, 0.25, 0.5],
        [0.5, 0.5, 1, 1],
    ]
    np.testing.assert_array_equal(made.boxes, expected)
    cells = [[0, 0, 0.5, 1], [0, 0, 0.5, 1], [0.5, 0, 0.5, 1], [0.5, 0, 0.5, 1], [0, 0, 1, 1]]
    np.testing.assert_array_equal(made.cell, cells)
    assert made.boxes.dtype == made.cell.dtype == np.float32


def test_priors_are_pixels_whatever_the_size():
    for size in (320, 416, 608):
        made = anchors.prior_boxes(((size // 32,) * 2,), (size, size), priors=((WIDE,),))
        np.testing.assert_allclose(made.boxes[:, 2:] * size, [WIDE] * len(made.boxes), rtol=1e-6)


def test_every_map_needs_its_priors():
    with pytest.raises(ValueError, match="1 levels of priors for 2 maps"):
        anchors.prior_boxes(((2, 2), (1, 1)), (64, 64), priors=((WIDE,),))


def grid(n=4, priors=(WIDE, TALL, BIG), size=256):
    return anchors.prior_boxes(((n, n),), (size, size), priors=(priors,))


by_cell = jax.jit(matching.by_cell)


def assigned(made, objects, **options):
    return jax.jit(lambda o: matching.by_shape(made, o, **options))(objects)


def place(row, column, prior, n=4, priors=3):
    return (row * n + column) * priors + prior


def test_the_prior_of_the_best_shape_in_the_cell_of_the_centre():
    targets = assigned(grid(), objects([[0.6, 0.3, 0.25, 0.15], [0.1, 0.9, 0.1, 0.2]]))
    positive = [place(1, 2, 0), place(3, 0, 1)]
    np.testing.assert_array_equal(np.flatnonzero(targets.positive), positive)
    np.testing.assert_array_equal(targets.labels[np.array(positive)], [0, 1])
    assert not targets.ignore.any()


def test_of_priors_that_fit_as_well_the_first():
    targets = assigned(grid(), objects([[0.5, 0.5, 0.2, 0.2]]))  # as wide as tall
    np.testing.assert_array_equal(np.flatnonzero(targets.positive), [place(2, 2, 0)])


def test_the_other_priors_that_fit_are_ignored():
    """40 x 40: IoU 0.5 with the wide, 1,280 / 2,368 = 0.54 with the tall one, 0.1 with the big."""
    thing = objects([[0.5, 0.5, 40 / 256, 40 / 256]])
    made = grid(priors=((64.0, 40.0), TALL, BIG))  # the first fits by 1,600 / 2,560 = 0.625
    np.testing.assert_array_equal(
        np.flatnonzero(assigned(made, thing, ignore_iou=0.5).ignore), [place(2, 2, 1)]
    )
    assert not assigned(made, thing, ignore_iou=0.55).ignore.any()


def test_the_last_object_decides():
    wide, square = [0.5, 0.5, 64 / 256, 32 / 256], [0.5, 0.5, 40 / 256, 40 / 256]
    made = grid(priors=(WIDE, (40.0, 36.0), BIG))  # of these the square one fits WIDE by over 0.5
    at = [place(2, 2, 0), place(2, 2, 1)]
    first_wide = assigned(made, objects([wide, square]), ignore_iou=0.4)
    np.testing.assert_array_equal(first_wide.positive[np.array(at)], [False, True])
    np.testing.assert_array_equal(first_wide.ignore[np.array(at)], [True, False])
    first_square = assigned(made, objects([square, wide]), ignore_iou=0.4)
    np.testing.assert_array_equal(first_square.positive[np.array(at)], [True, False])
    twice = assigned(made, objects([wide, wide]))
    assert twice.positive.sum() == 1 and twice.labels[at[0]] == 1


def test_of_all_levels_the_best_prior():
    made = anchors.prior_boxes(((4, 4), (2, 2)), (256, 256), priors=((WIDE, TALL), (BIG,)))
    targets = assigned(made, objects([[0.8, 0.6, 0.45, 0.4], [0.8, 0.6, 0.2, 0.4]]))
    np.testing.assert_array_equal(np.flatnonzero(targets.positive), [(2 * 4 + 3) * 2 + 1, 32 + 3])
    np.testing.assert_array_equal(targets.labels[np.array([23, 35])], [1, 0])


@pytest.mark.parametrize("n", [4, 10, 13, 19])
def test_a_centre_on_a_border_has_one_cell(n):
    made = grid(n, priors=(WIDE,))
    images = [objects([[k / n, k / n, 0.01, 0.01]], slots=1) for k in range(n)]
    images = jax.tree.map(lambda *leaves: np.stack(leaves), *images)
    targets = jax.jit(jax.vmap(lambda one: matching.by_shape(made, one)))(images)
    np.testing.assert_array_equal(targets.positive.sum(1), [1] * n)


def test_what_is_left_out():
    """No area, no height, a centre on the far border, padding with a box."""
    nothing = objects([[0.5, 0.5, 0, 0], [0.5, 0.5, 0.2, 0], [1.0, 0.5, 0.2, 0.2]])
    hidden = objects([[0.5, 0.5, 0.2, 0.2]]).replace(mask=np.zeros(6, bool))
    for things in (nothing, hidden, objects([])):
        for targets in (assigned(grid(), things), by_cell(grid(), things)):
            assert not targets.positive.any() and not targets.ignore.any()
            assert np.isfinite(targets.boxes).all()


def test_all_boxes_of_a_cell_answer_in_yolov1():
    made = grid(priors=(BIG, BIG))
    targets = by_cell(made, objects([[0.3, 0.1, 0.1, 0.1], [0.3, 0.2, 0.5, 0.2]]))
    np.testing.assert_array_equal(np.flatnonzero(targets.positive), [2, 3])
    np.testing.assert_array_equal(targets.labels[2:4], [1, 1])  # the later object


def loop(made, things, ignore_iou):
    """Owner of every anchor (-1 for none) and which are ignored, one object after the other."""
    owner, ignored = np.full(len(made.boxes), -1), np.zeros(len(made.boxes), bool)
    for i in np.flatnonzero(things.mask):
        x0, y0, x1, y1 = things.boxes[i].astype(np.float64)
        if x1 <= x0 or y1 <= y0:
            continue
        fits = {}
        for a, (cell, prior) in enumerate(zip(made.cell, made.boxes, strict=True)):
            inside = (np.array([x0 + x1, y0 + y1]) / 2 - cell[:2]) / cell[2:]
            if (inside >= 0).all() and (inside < 1).all():
                w, h = prior[2:].astype(np.float64)
                fits[a] = iou([0, 0, w, h], [0, 0, x1 - x0, y1 - y0])
        for a, fit in fits.items():
            if a == max(fits, key=fits.get):
                owner[a], ignored[a] = i, False
            elif fit > ignore_iou:
                owner[a], ignored[a] = -1, True
    return owner, ignored


@pytest.mark.parametrize("ignore_iou", [0.3, 0.5, 1.0])
def test_assignment_against_loops(ignore_iou):
    rng = np.random.default_rng(0)
    made = anchors.prior_boxes(
        ((3, 3), (2, 2)), (256, 256), priors=((WIDE, TALL), (BIG, (80.0, 90.0)))
    )
    run = jax.jit(lambda o: matching.by_shape(made, o, ignore_iou=ignore_iou))
    seen = 0
    for _ in range(20):
        boxes = np.concatenate([rng.uniform(0, 1, (24, 2)), rng.uniform(0.02, 0.7, (24, 2))], 1)
        things = objects(boxes, slots=24)
        things = things.replace(mask=rng.uniform(size=24) < 0.6, labels=np.arange(24, dtype="i4"))
        owner, ignored = loop(made, things, ignore_iou)
        targets = run(things)
        np.testing.assert_array_equal(targets.positive, owner >= 0)
        np.testing.assert_array_equal(targets.ignore, ignored)
        np.testing.assert_array_equal(targets.labels[owner >= 0], owner[owner >= 0])
        seen += ignored.sum()
    assert (seen > 0) == (ignore_iou < 1)


MADE = anchors.prior_boxes(((3, 3), (2, 2)), (256, 256), priors=((WIDE, TALL), (BIG, (80.0, 90.0))))
MATCHINGS = {
    "by_shape": lambda one: matching.by_shape(MADE, one),
    "by_shape that ignores": lambda one: matching.by_shape(MADE, one, ignore_iou=0.3),
    "by_cell": lambda one: matching.by_cell(MADE, one),
}


def fuzzed(count=40, slots=24):
    """Objects [count, slots]: gaps in all, cells with several, some without area or outside.

    Sides are multiples of a sixteenth, so that many fit two priors as well, or are equal.
    """
    rng = np.random.default_rng(0)
    centre = rng.integers(-1, 19, (count, slots, 2)) / 18
    side = rng.integers(0, 10, (count, slots, 2)) / 16
    boxes = np.concatenate([centre - side / 2, centre + side / 2], axis=-1).astype(np.float32)
    mask = rng.uniform(size=(count, slots)) < rng.choice([0, 0.1, 0.5, 1], (count, 1))
    labels = np.broadcast_to(np.arange(slots, dtype=np.int32), (count, slots))
    return Objects(boxes, labels, mask, labels.astype(np.float32) / slots + 0.5)


def two_forms(function, *given):
    """What a function of one image makes of a batch, as for a CPU and as for an accelerator."""
    results = []
    for kind in ("cpu", "gpu"):
        with backend.lowering_for(kind):
            traced = jax.jit(jax.vmap(lambda *one: function(*one))).trace(*given)
        assert ("while[" in str(traced.jaxpr)) == (kind == "cpu")
        results.append(traced.lower().compile()(*given))
    return results


@pytest.mark.parametrize("name", MATCHINGS)
def test_accelerators_match_the_same(name):
    loop_form, table_form = two_forms(MATCHINGS[name], fuzzed())
    np.testing.assert_array_equal(table_form.positive, loop_form.positive)
    np.testing.assert_array_equal(table_form.ignore, loop_form.ignore)
    owned = np.asarray(loop_form.positive | loop_form.ignore)
    for field in ("boxes", "labels", "weight"):
        found, expected = (np.asarray(getattr(form, field)) for form in (table_form, loop_form))
        np.testing.assert_array_equal(found[owned], expected[owned])
    positive = np.asarray(loop_form.positive).sum(axis=1)
    assert positive.min() == 0 and positive.max() > 8
    assert np.asarray(loop_form.ignore).any() == (name == "by_shape that ignores")


def test_accelerators_find_the_same_highest_iou():
    things, rng = fuzzed(), np.random.default_rng(1)
    low = rng.uniform(-0.2, 0.8, (len(things.mask), 50, 2))
    boxes = np.concatenate([low, low + rng.uniform(0, 0.6, low.shape)], axis=-1).astype(np.float32)
    boxes[:, :24] = things.boxes  # also of the padding, which counts for nothing
    loop_form, table_form = two_forms(matching.highest_iou, boxes, things)
    np.testing.assert_allclose(table_form, loop_form, rtol=1e-6)
    expected = [
        [max((iou(box, t) for t in truth[mask]), default=0.0) for box in of_image]
        for of_image, truth, mask in zip(boxes[:8], things.boxes, things.mask, strict=False)
    ]
    np.testing.assert_allclose(loop_form[:8], expected, atol=1e-6)


def test_direct_location_keeps_a_centre_in_its_cell():
    made = grid(2, priors=(BIG,))
    codes = np.array([[-50, 50, 0, 0], [0, 0, 0, np.log(2)], [9, 9, 0, 0], [0, 0, -1, 0]], "f4")
    boxes = np.asarray(codecs.decode_in_cell(codes, made))
    np.testing.assert_allclose(boxes[0], [-0.25, 0.25, 0.25, 0.75], atol=1e-6)
    np.testing.assert_allclose(boxes[1], [0.5, -0.25, 1.0, 0.75], atol=1e-6)


@pytest.mark.parametrize("kind", ["in_cell", "roots", "from_anchor"])
def test_codes_come_back(kind):
    made = grid(3, priors=(WIDE, BIG))
    rng = np.random.default_rng(1)
    outputs = rng.uniform(0.1, 0.9, (2, len(made.boxes), 4)).astype(np.float32)
    codec = codecs.from_anchor((1.0, 1.0)) if kind == "from_anchor" else getattr(codecs, kind)
    codes = np.array(codec.encode(codec.decode(outputs, made), made))
    np.testing.assert_allclose(codec.activate(outputs), codes, atol=1e-5)
    if kind == "in_cell":
        codes[..., :2] = logit(codes[..., :2])
    np.testing.assert_allclose(codes, outputs, atol=1e-5)


def test_roots_by_hand():
    made = grid(2, priors=(BIG,))
    codes = np.array([[0.5, 0, 0.5, 1]] * 4, "f4")
    np.testing.assert_allclose(codecs.decode_roots(codes, made)[3], [0.625, 0, 0.875, 1], atol=1e-6)


def test_paired_iou_by_hand():
    a = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1], [0.5, 0.5, 0.5, 0.5]])
    b = np.array([[0.5, 0, 1.5, 1], [0, 0, 1, 1], [1, 0, 2, 1], [0.5, 0.5, 0.5, 0.5]])
    np.testing.assert_allclose(paired_iou(a, b), [1 / 3, 1, 0, 0], rtol=1e-6)
