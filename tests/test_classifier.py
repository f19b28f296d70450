"""The high-resolution classifier: what it learns, how it is judged, and what a detector takes."""

import importlib
import json

import jax
import numpy as np
import pytest
from conftest import run as run_module
from test_metrics_voc import detections, truth
from thin_recipe import get_config as thin

from jaxdet import build
from jaxdet.augment import fit
from jaxdet.detectors.classifier import classifier
from jaxdet.engine import init_from
from jaxdet.metrics import voc_classification
from jaxdet.training import checkpoint, logs
from jaxdet.types import Objects, Raw

CLASSES = ("a", "b", "c")
RECIPE, YOLO = "darknet19_448_classifier_voc", "yolov2_darknet19_416_voc"
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A workdir with a classifier of three classes, drawn at random, and its variables."""
    folder, config = tmp_path_factory.mktemp("classifier"), thin(RECIPE)
    variables = build.recipe(config, CLASSES).detector.init(jax.random.key(7))
    description = {"config": build.plain(config), "classes": list(CLASSES)}
    checkpoint.write(folder, variables, description)
    return folder, variables


def family():
    return classifier(lambda counts: counts, size=64, classes=CLASSES, fit=fit.stretch, nms=len)


def test_loss_is_the_cross_entropy_of_every_class_by_hand():
    detector = family()
    objects = Objects(
        boxes=np.tile(np.array([0.1, 0.1, 0.4, 0.4], np.float32), (2, 4, 1)),
        labels=np.array([[2, 0, 2, 1], [0, 0, 0, 0]], np.int32),
        mask=np.array([[True, True, True, False], [False] * 4]),
        weight=np.array([[0.25, 1, 0.75, 1], [0] * 4], np.float32),
    )
    anchors = detector.anchors(((2, 2),), (64, 64))
    targets = jax.jit(jax.vmap(lambda each: detector.assign(anchors, each)))(objects)
    assert targets.positive.tolist() == [[True], [False]]
    logits = np.array([[[1.5, -2, 0.5]], [[-1, 3, 0]]], np.float32)
    raw = Raw(boxes=np.zeros((2, 1, 4), np.float32), logits=logits)
    p = 1 / (1 + np.exp(-logits[:, 0]))
    present = np.array([[1, 0, 0.75], [0, 0, 0]])  # the largest weight of an object of the class
    expected = -(present * np.log(p) + (1 - present) * np.log(1 - p)).sum()
    total, count = jax.jit(detector.losses)(raw, targets, objects, anchors)["class"]
    assert float(total) == pytest.approx(float(expected), rel=1e-5) and count == 2

    boxes, scores = jax.jit(detector.decode)(raw, anchors)
    np.testing.assert_array_equal(boxes, np.tile([0, 0, 1, 1], (2, 1, 1)))
    np.testing.assert_allclose(scores[:, 0], p, rtol=1e-6)


def test_head_is_a_mean_over_cells_and_finds_every_class_that_is_sure():
    detector = build.recipe(thin(RECIPE), CLASSES).detector
    variables = detector.init(KEY)
    kernel = variables["params"]["head"]["conv"]["kernel"]
    variables["params"]["head"]["conv"] = {
        "kernel": np.zeros_like(kernel),
        "bias": np.array([0.5, -1, 2], np.float32),
    }
    for size in (64, 96):
        found = jax.jit(detector.predict)(variables, np.zeros((1, size, size, 3), np.float32))
        assert np.asarray(found.labels)[0, :3].tolist() == [2, 0, 1]
        assert np.asarray(found.valid)[0].sum() == 3
        np.testing.assert_array_equal(found.boxes[0, :3], np.tile([0, 0, 1, 1], (3, 1)))


def test_images_are_ranked_by_the_class_that_is_in_them():
    whole = [0, 0, 64, 64]
    truths = [
        truth("a", [[0, 0, 9, 9], [5, 5, 20, 20]], [0, 0]),  # two of a class are one image
        truth("b", [[0, 0, 9, 9]], [1]),
        truth("c", [[0, 0, 9, 9], [0, 0, 30, 30]], [0, 0], difficult=[True, True]),
        truth("d", [[0, 0, 9, 9], [0, 0, 30, 30]], [0, 1], difficult=[False, True]),
    ]
    scores = {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.1}
    found = {name: detections([whole], [score], [0]) for name, score in scores.items()}
    result = voc_classification.evaluate(found, truths, ("cat", "dog"))
    cat = result["classes"]["cat"]
    assert (cat["objects"], cat["difficult"], cat["right"]) == (2, 1, 2)
    # a is right, b wrong, c does not count, d right: precision 1 to recall 1/2, then 2/3.
    assert cat["ap_area"] == pytest.approx((1 + 2 / 3) / 2)
    assert result["classes"]["dog"]["ap_area"] == 0 and result["classes"]["dog"]["objects"] == 1
    assert "classification" in voc_classification.table(result, "as found")


def test_detector_takes_the_backbone_and_nothing_else(trained, capsys):
    folder, theirs = trained
    config = thin(YOLO)
    recipe = build.recipe(config, ("x", "y"))
    fresh = init_from.initial_variables(recipe, "")
    ours = init_from.initial_variables(recipe, str(folder))
    assert f"weights from {folder}; fresh: head, neck" in capsys.readouterr().out
    same = lambda *trees: jax.tree.map(np.testing.assert_array_equal, *trees)
    for kind in ("params", "batch_stats"):
        same(ours[kind]["backbone"], theirs[kind]["backbone"])
        same(ours[kind]["neck"], fresh[kind]["neck"])
    same(ours["params"]["head"], fresh["params"]["head"])


def test_a_run_with_another_backbone_is_refused(trained):
    config = thin(YOLO)
    config.model.backbone.norm = "none"
    recipe = build.recipe(config, CLASSES)
    with pytest.raises(
        ValueError, match="left over: batch_stats/backbone/.*missing: params/backbone/"
    ):
        init_from.initial_variables(recipe, str(trained[0]))


def test_recipe_is_the_detectors_backbone_at_its_size_of_pixels():
    ours, theirs = (importlib.import_module(f"configs.{n}").get_config() for n in (RECIPE, YOLO))
    assert ours.model.backbone.to_dict() == theirs.model.backbone.to_dict()
    assert (ours.model.mean, ours.model.scale) == (theirs.model.mean, theirs.model.scale)
    assert ours.model.size == 448 and not ours.step.sizes


@pytest.mark.slow
def test_learns_through_the_command_line(shapes, tmp_path):
    said = run_module(
        f"--config=tests/thin_recipe.py:{RECIPE}",
        f"--workdir={tmp_path}",
        f"--config.data.dir={shapes}",
        "--config.schedule.steps=60",
        "--config.every.log=20",
    )
    assert "classification of whole images; input 64x64" in said
    lines = [json.loads(line) for line in (tmp_path / logs.METRICS).read_text().splitlines()]
    losses = [line["class"] for line in lines if line["kind"] == "train"]
    assert len(losses) == 3 and losses[-1] < losses[0]
    assert 0 < lines[-1]["mAP11"] < 1
