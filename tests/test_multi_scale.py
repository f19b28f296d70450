"""SSD at input sizes that its recipe's strides are not for: evenly spread boxes, training."""

import functools
import json
import pathlib

import jax
import numpy as np
import pytest
from conftest import train
from ml_collections import ConfigDict
from test_configs import load

from jaxdet import build
from jaxdet.engine import evaluate
from jaxdet.training import checkpoint, logs

CONFIGS = pathlib.Path(__file__).resolve().parents[1] / "configs"


@functools.cache
def ssd300():
    return build.recipe(load(CONFIGS / "ssd300_voc.py").get_config(), ("a", "b")).detector


@pytest.mark.parametrize("size", [272, 288, 320, 352, 384])
def test_the_boxes_of_another_size_cover_it_evenly(size):
    """As many as there are predictions is what `anchors_at` itself asserts."""
    made = ssd300().anchors_at((size, size))
    cells = np.unique(made.cell, axis=0)
    sides = np.unique(made.cell[:, 2])
    assert len(sides) == 6
    for side in sides:
        level = cells[cells[:, 2] == side]
        count = round(1 / side)
        assert len(level) == count**2 and side == np.float32(1 / count)
        np.testing.assert_allclose(np.unique(level[:, 0]), np.arange(count) / count, atol=1e-6)
    middle = (made.boxes[:, :2] - made.cell[:, :2]) / made.cell[:, 2:]
    np.testing.assert_allclose(middle, 0.5, atol=1e-4)


def test_shapes_are_the_same_fractions_at_every_size():
    shapes = [
        np.unique(ssd300().anchors_at((size, size)).boxes[:, 2:], axis=0) for size in (300, 384)
    ]
    np.testing.assert_allclose(*shapes, atol=1e-6)


def test_the_own_size_keeps_its_strides():
    made = ssd300().anchors_at((300, 300))
    assert len(made.boxes) == 8732
    np.testing.assert_allclose(
        np.unique(made.cell[:, 2]), np.array([8, 16, 32, 64, 100, 300]) / 300
    )


def test_an_input_without_room_for_the_last_map_is_refused():
    with pytest.raises(ValueError, match=r"too small for neck/conv11_2, .*: enlarge the input"):
        ssd300().anchors_at((256, 256))


@pytest.mark.slow
def test_ssd_trains_at_two_sizes_and_mixes_until_a_step_and_resumes_bit_for_bit(shapes, tmp_path):
    options = [
        "--config.step.sizes=(64,96)",
        "--config.step.resize_every=1",
        "--config.schedule.steps=4",
        "--config.every.picture=2",
        "--config.every.evaluation=0",
        "--config.augment.mix=({'name':'mosaic','until':2},{'name':'cutmix','probability':0.5})",
    ]
    whole, half = tmp_path / "whole", tmp_path / "half"
    train(shapes, whole, *options)
    train(shapes, half, *options, "--until=1")
    train(shapes, half, *options)  # across the stop
    states = [checkpoint.read_state(folder) for folder in (whole, half)]
    jax.tree.map(np.testing.assert_array_equal, *states)
    lines = [
        [json.loads(line) for line in (folder / logs.METRICS).read_text().splitlines()]
        for folder in (whole, half)
    ]
    last = [
        {k: v for k, v in of[-1].items() if "second" not in k and "share" not in k} for of in lines
    ]
    assert last[0] == last[1] and np.isfinite(last[0]["loss"])
    description, _, _ = checkpoint.read(half)
    config = ConfigDict(description["config"])
    trained = build.recipe(config, tuple(description["classes"])).detector
    config.model.size = 96  # evaluation at another size has the boxes of training
    recipe, _ = evaluate.evaluator(config, half, description)
    assert recipe.detector.size == 96
    jax.tree.map(
        np.testing.assert_array_equal, *(d.anchors_at((96, 96)) for d in (trained, recipe.detector))
    )
