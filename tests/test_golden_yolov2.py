"""YOLOv2's maths against what a public implementation (yjh0410/PyTorch_YOLOv2) computed.

The arrays are not part of the repository; without them these tests are skipped. The network's map
and statistics are compared in test_golden_yolo_nets.py; here it is trained on.
"""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_golden_yolo_nets
from test_golden_lufficc import gradient_errors, loss_and_gradient

from jaxdet.augment import fit
from jaxdet.boxes import codecs, nms
from jaxdet.convert import weights, yjh0410
from jaxdet.detectors.yolov2 import yolov2
from jaxdet.training.step import divide
from jaxdet.types import Objects, Raw

SIZE, GRID, PRIORS, CLASSES = 416, 13, 5, 20
THEIRS = {"objectness": "conf", "class": "cls", "box": "bbox"}  # our losses' names and theirs


@pytest.fixture(scope="module")
def golden(shared):
    with np.load(shared / "golden" / "yolov2" / "yolov2_416.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def numbers(shared):
    return json.loads((shared / "golden" / "yolov2" / "yolov2_416.json").read_text())


def detector(golden):
    """Ours with the reference's priors; the network is not asked."""
    limits = dict(score_threshold=0.001, iou_threshold=0.5, max_kept=1000)
    return yolov2(
        lambda counts: counts,
        size=SIZE,
        classes=tuple(f"class {i}" for i in range(CLASSES)),
        fit=fit.stretch,
        nms=functools.partial(nms.greedy, **limits),
        priors=(tuple((float(w) * 32, float(h) * 32) for w, h in golden["anchors"]),),
    )


def priors(golden):
    return detector(golden).anchors(((GRID, GRID),), (SIZE, SIZE))


def raw(golden, dtype=jnp.float32):
    """The stored prediction: all objectness, then all classes, then all boxes of a cell."""
    fields = np.split(golden["prediction"], (PRIORS, PRIORS * (1 + CLASSES)), axis=-1)
    objectness, logits, codes = (jnp.asarray(x.reshape(2, GRID**2 * PRIORS, -1)) for x in fields)
    made = Raw(boxes=codes, logits=logits, objectness=objectness[..., 0])
    return jax.tree.map(lambda x: x.astype(dtype), made)


def objects(golden, slots=24):
    def pad(x):
        return np.pad(x, [(0, slots - len(x))] + [(0, 0)] * (x.ndim - 1))

    images = [
        Objects(
            boxes=pad(golden[f"gt_boxes_{i}"]),
            labels=pad(golden[f"gt_labels_{i}"].astype(np.int32)),
            mask=np.arange(slots) < len(golden[f"gt_boxes_{i}"]),
            weight=np.ones(slots, np.float32),
        )
        for i in range(2)
    ]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *images)


def targets(golden):
    its = detector(golden)
    return jax.jit(jax.vmap(functools.partial(its.assign, priors(golden))))(objects(golden))


def test_boxes_and_scores(golden):
    boxes, scores = detector(golden).decode(raw(golden), priors(golden))
    sides = golden["boxes"][..., 2:] - golden["boxes"][..., :2]
    error = np.abs(boxes * SIZE - golden["boxes"])
    assert (error <= 0.01 + 1e-4 * np.tile(sides, 2)).all()
    np.testing.assert_allclose(scores, golden["scores"], atol=1e-5)


def test_the_best_100_detections(golden):
    its = detector(golden)
    boxes, scores = its.decode(raw(golden), priors(golden))
    found = jax.jit(jax.vmap(its.nms))(boxes, scores)
    np.testing.assert_array_equal(found.labels[:, :100], golden["det_labels"][:, :100])
    np.testing.assert_allclose(found.scores[:, :100], golden["det_scores"][:, :100], atol=1e-5)
    clipped = np.clip(found.boxes[:, :100], 0, 1)  # as the reference does, after NMS
    np.testing.assert_allclose(clipped, golden["det_boxes"][:, :100], atol=1e-4)


def test_targets(golden, numbers):
    found = targets(golden)
    state = np.where(found.positive, 1, np.where(found.ignore, -1, 0))
    expected = golden["targets"]
    np.testing.assert_array_equal(state, expected[..., 0])
    assert (state == 1).sum() == numbers["matching"]["positive"]
    assert (state == -1).sum() == numbers["matching"]["ignored"]

    positive = state == 1
    codes = codecs.encode_in_cell(found.boxes, priors(golden))
    weight = 2 - (found.boxes[..., 2:] - found.boxes[..., :2]).prod(axis=-1)
    columns = [found.labels[..., None], codes, weight[..., None], found.boxes]
    columns = np.concatenate(columns, axis=-1)
    np.testing.assert_allclose(columns[positive], expected[positive][:, 1:], atol=1e-4)


def test_losses(golden, numbers):
    its = detector(golden)
    found = jax.jit(its.losses)(raw(golden), targets(golden), objects(golden), priors(golden))
    means = divide(found, {name: count for name, (_, count) in found.items()})
    for ours, theirs in THEIRS.items():
        assert means[ours] == pytest.approx(numbers["loss_eval"][theirs], rel=1e-5)
    assert sum(means.values()) == pytest.approx(numbers["loss_eval"]["total"], rel=1e-5)


def test_losses_in_float64(golden, numbers):
    its = detector(golden)
    with jax.enable_x64(True):
        made = raw(golden, jnp.float64)
        found = its.losses(made, targets(golden), objects(golden), priors(golden))
        means = {name: total / count for name, (total, count) in found.items()}
        assert all(mean.dtype == jnp.float64 for mean in means.values())
        means = {name: float(mean) for name, mean in means.items()}
    # The reference ran its whole network in float64; the stored map is float32.
    for ours, theirs in THEIRS.items():
        assert means[ours] == pytest.approx(numbers["loss_eval_float64"][theirs], rel=2e-6)


def trained(shared, golden, *, dtype):
    """The losses of a training step, and the errors of its gradient's norms."""
    known = test_golden_yolo_nets.golden(shared, "yolov2")
    its = dataclasses.replace(detector(golden), net=known.net.clone(dtype=dtype))
    variables = jax.tree.map(lambda x: jnp.asarray(x, dtype), known.variables)
    means, gradient, _ = loss_and_gradient(its, variables, golden["input"], objects(golden))
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves((means, gradient)))
    where = weights.paths(
        yjh0410.rearrange(known.theirs), yjh0410.MODELS[test_golden_yolo_nets.MODELS["yolov2"]]
    )
    suffix = "_float64" if dtype == jnp.float64 else ""
    expected = known.numbers[f"grad_norm{suffix}"]
    left_out = set(expected) - set(where)
    assert all(name.endswith(".convs.0.bias") for name in left_out)  # no effect before BatchNorm
    expected = {name: norm for name, norm in expected.items() if name in where}
    means = {name: float(mean) for name, mean in means.items()}
    return means, known.numbers[f"loss_train{suffix}"], gradient_errors(gradient, expected, where)


@pytest.mark.slow
def test_training(shared, golden):
    means, expected, errors = trained(shared, golden, dtype=jnp.float32)
    for ours, theirs in THEIRS.items():
        assert means[ours] == pytest.approx(expected[theirs], rel=1e-4)
    assert max(errors.values()) < 0.01, errors


@pytest.mark.slow
def test_training_in_float64(shared, golden):
    with jax.enable_x64(True):
        means, expected, errors = trained(shared, golden, dtype=jnp.float64)
    for ours, theirs in THEIRS.items():
        assert means[ours] == pytest.approx(expected[theirs], rel=1e-6)
    assert max(errors.values()) < 1e-6, {n: e for n, e in errors.items() if e >= 1e-6}
