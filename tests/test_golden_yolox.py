"""YOLOX against what the PyTorch reference computes: maps, boxes, detections, losses, steps.

Reference numbers: Megvii-BaseDetection/YOLOX at 6ddff48 and 4197784 (0.3.0) with seeded random
weights and COCO photos. They are not part of the repository; without them these tests are skipped.
"""

import dataclasses
import functools
import json
import pathlib
from typing import Any

import jax
import numpy as np
import pytest
import safetensors.numpy
from test_configs import load
from test_golden_yolo_nets import maker

from jaxdet import build
from jaxdet.convert import weights, yolox

COCO = tuple(f"class {i}" for i in range(80))
SIZE, STRIDES = 416, (8, 16, 32)
FAMILY = ("nano", "tiny", "s", "m", "l", "x", "darknet53")
LARGE = ("m", "l", "x", "darknet53")


@dataclasses.dataclass
class Golden:
    """A detector with the reference's weights, which went through a file and the importer."""

    recipe: build.Recipe
    variables: dict[str, Any]
    paths: dict[str, tuple[str, ...]]  # their name of an array -> our path


def recipe_of(name):
    config = load(pathlib.Path("configs") / f"yolox_{name}_coco.py").get_config()
    config.model.size = SIZE
    config.evaluation.update(score_threshold=0.01, max_kept=700)
    return build.recipe(config, COCO)


@functools.cache
def golden(shared, name, folder):
    make, recipe = maker(shared), recipe_of(name)
    file = shared / "golden" / "yolox" / "manifests" / f"yolox_{name}.json"
    manifest = json.loads(file.read_text())
    theirs = make.draw_all(manifest, manifest["seed"])
    file = folder / f"{name}.safetensors"
    safetensors.numpy.save_file(theirs, file)
    shapes = jax.eval_shape(recipe.detector.init, jax.random.key(0))
    variables, fresh = weights.fill(weights.entries(file, yolox, recipe.model, shapes), shapes)
    assert not fresh
    file.unlink()
    return Golden(recipe, variables, weights.paths(theirs, yolox.MODELS[recipe.model]))


@pytest.fixture(scope="module")
def known(shared, tmp_path_factory):
    """What is known of a model, by its name."""
    return functools.partial(golden, shared, folder=tmp_path_factory.getbasetemp())


def arrays(shared, name):
    with np.load(shared / "golden" / "yolox" / name) as file:
        return dict(file)


def numbers(shared, name):
    return json.loads((shared / "golden" / "yolox" / name).read_text())


def pixels(stored):
    """The stored photos as ours, red first."""
    return stored["input"][..., ::-1].astype(np.float32)


def joined(raw):
    """Our predictions in their order: box, objectness, classes."""
    return np.concatenate([raw.boxes, raw.objectness[..., None], raw.logits], axis=-1)


def levels_of(fields, side):
    """Maps by stride from fields [B, A, 85] of a square input."""
    sides = [side // stride for stride in STRIDES]
    ends = np.cumsum([n * n for n in sides])[:-1]
    parts = np.split(fields, ends, axis=1)
    return {s: x.reshape(len(x), n, n, -1) for s, n, x in zip(STRIDES, sides, parts, strict=True)}


@functools.cache
def forward(shared, its):
    net, stored = its
    run = jax.jit(functools.partial(net.recipe.detector.net.apply, train=False))
    return jax.device_get(run(net.variables, pixels(stored)))


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILY)
def test_maps_of_every_size(shared, known, name):
    its = known(name)
    net, photo = its.recipe.detector.net, pixels(arrays(shared, "yolox_s_416.npz"))[:1, :256, :256]
    raw = jax.jit(functools.partial(net.apply, train=False))(its.variables, photo)
    stored = arrays(shared, "family_256.npz")
    for stride, every in zip(STRIDES, (4, 2, 1), strict=True):
        level = levels_of(joined(raw), 256)[stride][0, ::every, ::every]
        np.testing.assert_allclose(level, stored[f"yolox_{name}_raw_{stride}"], atol=1e-3)
