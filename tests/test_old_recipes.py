"""Checkpoints and recipes from before the recipes' present form: they load, and give equal numbers.

`tests/old` holds three small workdirs of commit 01842a8, and what that commit computed from them.
"""

import json
import pathlib
import tarfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import run
from etils import epath
from ml_collections import ConfigDict

import jaxdet
from jaxdet import build, data
from jaxdet.augment import window
from jaxdet.augment.fit import letterbox
from jaxdet.engine import evaluate, setup
from jaxdet.training import old_recipes

OLD = pathlib.Path(__file__).with_name("old")
EXPECTED = json.loads((OLD / "expected.json").read_text())
NAMES = sorted(EXPECTED)


@pytest.fixture(scope="module")
def workdirs(tmp_path_factory):
    """The three workdirs, unpacked, by name."""
    folder = tmp_path_factory.mktemp("old")
    for name in NAMES:
        with tarfile.open(OLD / f"{name}.tar.xz") as archive:
            archive.extractall(folder, filter="data")
    return {name: folder / name for name in NAMES}


def config_of(workdir, shapes):
    stored = old_recipes.translated(json.loads((workdir / "config.json").read_text()))
    stored["data"]["dir"] = str(shapes)
    return ConfigDict(stored)


@pytest.mark.parametrize("name", NAMES)
def test_an_old_checkpoint_predicts_as_before(workdirs, name):
    """Detections of an image that is no square, so that letterboxing shows."""
    expected, model = EXPECTED[name], jaxdet.load(workdirs[name])
    blocks = np.random.default_rng(0).uniform(0, 255, (12, 16, 3)).astype(np.uint8)
    (found,) = model.detect([blocks.repeat(10, 0).repeat(12, 1)])
    assert model.step == expected["step"]
    assert found.labels.tolist() == expected["labels"]
    np.testing.assert_allclose(found.scores, expected["scores"], atol=5e-5)
    np.testing.assert_allclose(found.boxes, expected["boxes"], atol=2e-2)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_an_old_checkpoint_evaluates_as_before(workdirs, shapes, name, monkeypatch):
    """Except that letterboxes fill whole pixels now."""

    def before(size, fit, shape):
        extent = size.max() / jnp.maximum(size, 1)[::-1] if fit is letterbox else jnp.ones(2)
        corner = (1 - extent) / 2
        box = jnp.concatenate([corner, corner + extent])
        return window.Window(box=box, mirror=jnp.array(False))

    monkeypatch.setattr(window, "uncropped_window", before)
    result = evaluate.evaluate_newest(config_of(workdirs[name], shapes), epath.Path(workdirs[name]))
    assert evaluate.numbers(result) == pytest.approx(EXPECTED[name]["evaluation"], abs=1e-6)


@pytest.mark.parametrize("name", ["quickstart", "quickstart_yolov2"])
def test_an_old_recipe_augments_as_before(workdirs, shapes, name):
    """What was not letterboxed is not now; YOLOv3's is, and so trains on other views."""
    config = config_of(workdirs[name], shapes)
    train_set = data.open("shapes_train", dir=shapes)
    recipe = build.recipe(config, train_set.classes)
    batch = next(setup.train_batches(recipe, train_set))
    pixels, objects, _ = jax.jit(recipe.view_at(64))(jax.random.key(3), batch)
    means = np.asarray(pixels, np.float64).mean((1, 2, 3))
    np.testing.assert_allclose(means, EXPECTED[name]["pixels"], rtol=1e-6)
    assert int(objects.mask.sum()) == EXPECTED[name]["objects"]


def test_a_new_recipe_is_not_changed(workdirs, shapes):
    for workdir in workdirs.values():
        new = config_of(workdir, shapes).to_dict()
        assert old_recipes.translated(new) == new


@pytest.mark.parametrize(
    ("key", "successor"),
    [
        ("evaluation.letterbox=True", "model.fit"),
        ("model.letterbox=True", "model.fit"),
        ("augment.expand_max=2.0", "augment.window.expand_max"),
        ("augment.hue=1.0", "augment.colour.hue"),
        ("augment.mixup_alpha=1.5", "augment.mix"),
        ("model.detector.label_smoothing=0.1", "model.detector.class_loss.label_smoothing"),
    ],
)
def test_an_old_key_names_its_successor(tmp_path, key, successor):
    flags = ["--config=configs/quickstart.py", f"--workdir={tmp_path}", f"--config.{key}"]
    said = run(*flags, ok=False)
    assert f"has no config.{key.split('=')[0]}; it is now config.{successor}" in said


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (dict(label_smoothing=0.025), dict(name="bce", label_smoothing=0.05)),
        (dict(label_smoothing=0.0, class_loss="bce"), "bce"),
        (dict(label_smoothing=0.1, class_loss="bce"), dict(name="bce", label_smoothing=0.2)),
        (
            dict(label_smoothing=0.1, class_loss=dict(name="cross_entropy")),
            dict(name="cross_entropy", label_smoothing=0.2),
        ),
    ],
)
def test_label_smoothing_is_the_class_losss(old, new):
    """1 - s and s were the targets; now they are 1 - e / 2 and e / 2."""
    config = {"model": {"detector": {"name": "yolov3", "ignore_iou": 0.5, **old}}}
    found = old_recipes.translated(config)["model"]["detector"]
    assert found == {"name": "yolov3", "ignore_iou": 0.5, "class_loss": new}


def test_an_old_yolov3_has_the_targets_that_it_had(workdirs, shapes):
    losses = build.recipe(config_of(workdirs["quickstart_yolov3"], shapes), ("a", "b", "c"))
    class_loss = losses.detector.losses.keywords["class_loss"]
    assert class_loss.keywords == {"label_smoothing": 0.05}
    logits, targets = np.float32([[1.0, -2.0, 0.5]]), np.float32([[0, 1, 0]])
    said = targets * (1 - 2 * 0.025) + 0.025
    expected = (np.log1p(np.exp(logits)) - logits * said).sum(-1)
    np.testing.assert_allclose(class_loss(logits, targets), expected, rtol=1e-6)


def test_old_keys_and_names_in_a_recipe_name_their_successors(workdirs):
    old = json.loads((workdirs["quickstart"] / "config.json").read_text())
    now = old_recipes.translated(old)
    for block, message in {
        "augment": r"config\.augment: there is no 'brightness'; it is now config\.augment\.colour",
        "evaluation": r"config\.evaluation: there is no 'letterbox'; it is now config\.model\.fit",
    }.items():
        with pytest.raises(ValueError, match=message):
            build.recipe(ConfigDict({**now, block: old[block]}), ("a",))
    now["model"]["backbone"] = {"name": "mobilenet_v2_mmdet"}
    with pytest.raises(ValueError, match=r"'mobilenet_v2_mmdet' is now dict\(name='mobilenet_v2'"):
        build.recipe(ConfigDict(now), ("a",))
