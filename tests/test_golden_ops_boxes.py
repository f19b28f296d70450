"""Overlaps, the losses made of them, the focal loss and NMS against torchvision and Darknet.

The arrays are those of shared/golden/ops and shared/golden/yolov4; see the README there.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdet.boxes import codecs, iou, nms, suppression
from jaxdet.losses import box, classes
from jaxdet.types import Anchors

PAIRS = {
    "iou": iou.paired_smooth_iou,
    "giou": iou.paired_giou,
    "diou": iou.paired_diou,
    "ciou": iou.paired_ciou,
}
POINTS = [9, 11]  # "predicted a point", "both the same point"
SCALE = 1024  # pixels per output, whose range is limited; a power of two rounds nothing
CODEC = codecs.Codec(encode=len, decode=lambda outputs, _: outputs * SCALE)


@pytest.fixture(scope="module")
def ops(shared):
    with np.load(shared / "golden" / "ops" / "ops.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def darknet(shared):
    with np.load(shared / "golden" / "yolov4" / "boxes.npz") as stored:
        return dict(stored)


def value_and_gradient(function, *arguments):
    """A function of rows, and the gradient of its sum for the first argument."""
    slope = jax.grad(lambda *given: function(*given).sum())
    return jax.jit(lambda *given: (function(*given), slope(*given)))(*arguments)


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("name", ["giou", "diou", "ciou"])
def test_losses_of_boxes_are_torchvisions(ops, name, double):
    """Of a point, whose CIoU is NaN there, it is the DIoU here."""
    end, tolerance = ("_float64", 1e-12) if double else ("", 1e-5)
    dtype = np.float64 if double else np.float32
    predicted, true = (ops[f"pair_{which}"].astype(dtype) for which in ("predicted", "true"))
    anchors = Anchors(boxes=np.zeros_like(true), cell=np.zeros_like(true))
    of_outputs = lambda outputs: getattr(box, name)(outputs[None], true[None], anchors, CODEC)[0]
    loss = lambda boxes: of_outputs(boxes / SCALE)
    with jax.enable_x64(double):
        found = jax.device_get(value_and_gradient(loss, predicted))
    expected = [ops[f"{name}_{what}{end}"].copy() for what in ("loss", "gradient")]
    assert np.isnan(expected[0]).any() == (name == "ciou")
    if name == "ciou":
        np.testing.assert_array_equal(np.flatnonzero(np.isnan(expected[0])), POINTS)
        for one, of_diou in zip(expected, ("diou_loss", "diou_gradient"), strict=True):
            one[POINTS] = ops[of_diou + end][POINTS]
    np.testing.assert_allclose(found[0], expected[0], atol=tolerance)
    scale = np.maximum(1, np.abs(expected[1]))  # that of a box of 0.001 pixels is 500
    np.testing.assert_allclose(found[1] / scale, expected[1] / scale, atol=tolerance)


@pytest.mark.parametrize("name", PAIRS)
def test_overlaps_are_those_of_the_papers(darknet, name):
    kind = list(PAIRS).index(name)
    pair = lambda a, b: PAIRS[name](iou.from_cxcywh(a), iou.from_cxcywh(b))
    value, slope = value_and_gradient(pair, darknet["pred"], darknet["truth"])
    np.testing.assert_allclose(value, darknet["exact_value"][:, kind], atol=3e-5)
    expected = darknet["exact_gradient"][:, kind]
    np.testing.assert_allclose(slope, expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("name", PAIRS)
def test_overlaps_of_equal_and_far_boxes(name):
    one, far = jnp.array([[0.1, 0.1, 0.3, 0.2]]), jnp.array([[1e6, 1e6, 1e6 + 1, 1e6 + 1]])
    np.testing.assert_allclose(PAIRS[name](one, one), 1, atol=1e-4)
    apart = float(PAIRS[name](one, far)[0])
    assert apart == pytest.approx(0 if name == "iou" else -1, abs=0.02)


def test_iou_of_all_pairs(ops):
    predicted, true = ops["pair_predicted"], ops["pair_true"]
    usual = (predicted[:, 2:] >= predicted[:, :2]).all(1)  # inverted boxes have no area here
    found = iou.pairwise_iou(predicted, true)
    expected = np.nan_to_num(ops["box_iou"])  # of two points
    np.testing.assert_allclose(found[usual], expected[usual], atol=1e-6)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (-1, 2.0), (0.75, 0.0), (0.25, 1.5)])
@pytest.mark.parametrize("double", [False, True])
def test_focal_loss_is_torchvisions(ops, alpha, gamma, double):
    end, tolerance = ("_float64", 1e-12) if double else ("", 1e-5)
    dtype = np.float64 if double else np.float32
    logits, targets = (ops[f"focal_{n}"].astype(dtype)[:, None] for n in ("logits", "targets"))
    loss = functools.partial(classes.focal, alpha=alpha, gamma=gamma)
    with jax.enable_x64(double):
        value, slope = jax.device_get(value_and_gradient(loss, logits, targets))
    stored = f"focal_alpha{alpha}_gamma{gamma}"
    np.testing.assert_allclose(value, ops[f"{stored}_loss{end}"], rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(slope[:, 0], ops[f"{stored}_gradient{end}"], atol=tolerance)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_nms_is_torchvisions(ops, threshold):
    """Regardless of class, by the class-agnostic NMS and the plain one; and class by class."""
    boxes, scores, labels = ops["nms_boxes"], ops["nms_scores"], ops["nms_labels"]
    limits = dict(iou_threshold=threshold, max_kept=len(boxes))
    expected = ops[f"nms_keep_{threshold}"]
    index, valid = suppression.nms(boxes, scores, **limits)
    np.testing.assert_array_equal(index[valid], expected)

    of_class = np.where(np.eye(labels.max() + 1, dtype=bool)[labels], scores[:, None], -1.0)
    of_class = of_class.astype(np.float32)
    for name, kept in (("agnostic", expected), ("greedy", ops[f"batched_nms_keep_{threshold}"])):
        found = getattr(nms, name)(boxes, of_class, score_threshold=-0.5, **limits)
        assert found.valid.sum() == len(kept)
        np.testing.assert_array_equal(found.labels[: len(kept)], labels[kept])
        np.testing.assert_array_equal(found.boxes[: len(kept)], boxes[kept])


def test_nms_at_the_threshold_and_of_negative_coordinates(ops):
    found = suppression.nms(
        ops["nms_exact_boxes"], ops["nms_exact_scores"], iou_threshold=0.5, max_kept=4
    )
    np.testing.assert_array_equal(found[0][found[1]], ops["nms_exact_keep_0.5"])
    labels = ops["nms_negative_labels"]
    scores = np.where(np.eye(labels.max() + 1, dtype=bool)[labels], 0.5, 0).astype(np.float32)
    limits = dict(score_threshold=0.1, iou_threshold=0.5, max_kept=8)
    kept = nms.greedy(ops["nms_negative_boxes"], scores, **limits)
    assert kept.valid.sum() == len(ops["nms_negative_keep_per_class"])


@pytest.mark.parametrize(
    ("name", "beta"), [("default", None), ("greedynms", 0.6), ("diounms_beta1", 1.0)]
)
def test_nms_is_darknets(darknet, name, beta):
    boxes, scores = iou.from_cxcywh(darknet["nms_boxes"]), darknet["nms_scores"]
    function = nms.greedy if beta is None else functools.partial(nms.diou, beta=beta)
    limits = dict(score_threshold=0.0, iou_threshold=0.45, max_kept=1000)
    found = jax.jit(functools.partial(function, **limits))(boxes, scores)
    expected = darknet[f"nms_kept_{name}"]
    assert found.valid.sum() == expected.sum()
    anchors, labels = np.nonzero(expected)
    order = np.argsort(-scores[anchors, labels], kind="stable")
    count = len(order)
    np.testing.assert_array_equal(found.labels[:count], labels[order])
    np.testing.assert_array_equal(found.boxes[:count], boxes[anchors[order]])
