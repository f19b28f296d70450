"""The SSD family against what the PyTorch reference computes, from the same weights.

Reference numbers: lufficc/SSD at 68dc0a2 with seeded random weights and two COCO photos; arrays for
two of the five models, names and shapes for all. They are not part of the repository.
"""

import dataclasses
import functools
import importlib.util
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_configs import CONFIGS
from test_configs import load as load_config
from test_golden_maths import pad

from jaxdet import build
from jaxdet.boxes import codecs
from jaxdet.convert import lufficc, weights
from jaxdet.detectors.one_stage import OneStage
from jaxdet.training.step import divide
from jaxdet.types import Targets

CLASSES = tuple(f"class {i}" for i in range(20))
MODELS = {  # the reference's name -> our recipe
    "vgg_ssd300_voc0712": "ssd300_voc",
    "vgg_ssd512_voc0712": "ssd512_voc",
    "mobilenet_v2_ssd320_voc0712": "mobilenet_v2_ssd320_voc",
    "mobilenet_v3_ssd320_voc0712": "mobilenet_v3_ssd320_voc",
    "efficient_net_b3_ssd300_voc0712": "efficientnet_b3_ssd300_voc",
}
WITH_ARRAYS = ("vgg_ssd300_voc0712", "mobilenet_v2_ssd320_voc0712")


def recipe(name):
    """The detector of a model, the names of its weights, and the shapes of its variables."""
    (path,) = [path for path in CONFIGS if path.stem == MODELS[name]]
    made = build.recipe(load_config(path).get_config(), CLASSES)
    shapes = jax.eval_shape(made.detector.init, jax.random.key(0))
    return made.detector, lufficc.MODELS[made.model], shapes


def manifest(shared, name):
    return json.loads((shared / "golden" / "lufficc" / "manifests" / f"{name}.json").read_text())


@dataclasses.dataclass
class Golden:
    """A model with the reference's weights, images and numbers."""

    detector: OneStage
    variables: dict
    paths: dict  # their name of a weight -> our path
    pixels: np.ndarray
    arrays: dict
    numbers: dict


@functools.cache
def golden(shared, name):
    folder = shared / "golden"
    spec = importlib.util.spec_from_file_location("make_weights", folder / "make_weights.py")
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    described = manifest(shared, name)
    theirs = maker.draw_all(described, described["seed"])
    detector, table, shapes = recipe(name)
    with np.load(folder / "lufficc" / f"{name}.npz") as file:
        arrays = dict(file)
    return Golden(
        detector,
        weights.to_ours(lufficc.rearrange(theirs), table, shapes),
        weights.paths(theirs, table),
        arrays["input"] + np.array(detector.net.mean, np.float32),
        arrays,
        json.loads((folder / "lufficc" / f"{name}.json").read_text()),
    )


@pytest.mark.parametrize("name", MODELS)
def test_every_weight_of_the_reference_has_one_place(shared, name):
    _, table, shapes = recipe(name)
    entries = manifest(shared, name)["entries"]
    theirs = {e["name"]: np.broadcast_to(np.float32(0), e["shape"]) for e in entries}
    ours = weights.to_ours(lufficc.rearrange(theirs), table, shapes)  # refuses what does not fit
    assert jax.tree.map(np.shape, ours) == jax.tree.map(np.shape, shapes)
    counters = [name for name in theirs if name.endswith("num_batches_tracked")]
    assert len(jax.tree.leaves(ours)) == len(theirs) - len(counters)


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_ARRAYS)
def test_raw_predictions_equal_the_reference(shared, name):
    its = golden(shared, name)
    net = its.detector.net
    both = lambda v, x: (net.apply(v, x, train=False), net.apply(v, x, method="maps"))
    raw, maps = jax.jit(both)(its.variables, its.pixels)
    np.testing.assert_allclose(raw.logits, its.arrays["cls_logits"], atol=1e-3)
    np.testing.assert_allclose(raw.boxes, its.arrays["bbox_pred"], atol=1e-3)
    for found, expected in zip(maps, its.numbers["features"], strict=True):
        assert list(found.shape[1:]) == expected["shape_hwc"]
        assert np.std(found, ddof=1) == pytest.approx(expected["std"], rel=1e-4)


def loss_and_gradient(detector, variables, pixels, targets):
    """The mean losses in training, the gradient of their sum, and the new batch statistics."""

    def total(params, batch_stats):
        now = {"params": params, "batch_stats": batch_stats}
        losses, stats = detector.loss(now, pixels, targets, key=jax.random.key(0))
        means = divide(losses, {name: count for name, (_, count) in losses.items()})
        return sum(means.values()), (means, stats)

    take = jax.jit(jax.value_and_grad(total, has_aux=True))
    (_, (means, stats)), gradient = take(variables["params"], variables.get("batch_stats", {}))
    return means, {"params": gradient}, {"batch_stats": stats}


def norms(tree, paths):
    square = lambda x: np.sum(
        np.square(x), dtype=np.float64
    )  # float32 is too short for 1e8 numbers
    return {name: np.sqrt(square(x)) for name, x in weights.to_theirs(tree, paths).items()}


def gradient_errors(gradient, expected, paths):
    """Relative errors of the norm of every parameter's gradient that is not zero but for rounding.

    A parameter whose effect a BatchNorm takes away has a true gradient of zero.
    """
    found = norms(gradient, paths)
    assert set(found) == set(expected)
    largest = max(expected.values())
    return {
        name: abs(found[name] - norm) / norm
        for name, norm in expected.items()
        if norm > 1e-6 * largest
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_ARRAYS)
def test_training_equals_the_reference(shared, name):
    its = golden(shared, name)
    truth = [pad(its.arrays[f"gt_boxes_{i}"], its.arrays[f"gt_labels_{i}"]) for i in range(2)]
    objects = jax.tree.map(lambda *leaves: np.stack(leaves), *truth)
    means, gradient, stats = loss_and_gradient(its.detector, its.variables, its.pixels, objects)
    assert means["box"] == pytest.approx(its.numbers["loss_train"]["reg"], rel=1e-3)
    assert means["class"] == pytest.approx(its.numbers["loss_train"]["cls"], rel=1e-3)

    errors = gradient_errors(gradient, its.numbers["grad_norm"], its.paths)
    assert max(errors.values()) < (0.05 if stats["batch_stats"] else 0.01), errors
    assert np.median(list(errors.values())) < 0.01

    expected = its.numbers["bn_running_mean_norm"] | its.numbers["bn_running_var_norm"]
    found = norms(stats, its.paths)
    assert set(found) == set(expected)
    for statistic, norm in expected.items():
        assert found[statistic] == pytest.approx(norm, rel=1e-3), statistic


def stored_targets(its):
    """The reference's own targets in float64: boxes that encode to its float32 codes."""
    anchors = its.detector.anchors_at((its.detector.size,) * 2)
    labels = its.arrays["target_labels"].astype(np.int32)
    codes = its.arrays["target_locations"].astype(np.float64)
    return Targets(
        boxes=codecs.decode_from_anchor(codes, anchors),
        labels=np.maximum(labels - 1, 0),
        positive=labels > 0,
        ignore=np.zeros(labels.shape, bool),
        weight=np.ones(labels.shape),
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v2_ssd320_voc0712"])  # VGG's takes a minute and a half
def test_training_in_float64_equals_the_reference(shared, name):
    its = golden(shared, name)
    with jax.enable_x64(True):
        variables = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), its.variables)
        detector = dataclasses.replace(
            its.detector,
            net=its.detector.net.clone(dtype=jnp.float64),
            assign=lambda anchors, targets: targets,  # matched already
        )
        means, gradient, _ = loss_and_gradient(detector, variables, its.pixels, stored_targets(its))
        assert all(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves((means, gradient)))
        assert means["box"] == pytest.approx(its.numbers["loss_train_float64"]["reg"], rel=1e-9)
        assert means["class"] == pytest.approx(its.numbers["loss_train_float64"]["cls"], rel=1e-9)
        errors = gradient_errors(gradient, its.numbers["grad_norm_float64"], its.paths)
    assert max(errors.values()) < 1e-6, {n: e for n, e in errors.items() if e >= 1e-6}
