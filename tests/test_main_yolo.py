"""The YOLOs through the command line: sizes, freezing and freebies, resumed bit for bit."""

import jax
import numpy as np
import pytest
from conftest import run

import jaxdet
from jaxdet.augment.fit import letterbox
from jaxdet.training import checkpoint


def train(name, shapes, workdir, *options):
    place = [f"--workdir={workdir}", f"--config.data.dir={shapes}"]
    return run(f"--config=tests/thin_recipe.py:{name}", *place, *options)


@pytest.mark.slow
def test_sizes_and_thawing_resume_bit_for_bit(shapes, tmp_path):
    options = [
        "--config.step.sizes=(64,96)",
        "--config.step.resize_every=1",
        "--config.step.frozen=('backbone',)",
        "--config.step.unfreeze_at=3",
        "--config.augment.mix=({'name':'mixup','alpha':1.5},)",
        "--config.every.evaluation=0",
        "--config.every.picture=0",
    ]
    name = "yolov2_darknet19_416_voc"
    train(name, shapes, tmp_path / "whole", *options)
    train(name, shapes, tmp_path / "half", "--until=3", *options)
    frozen = checkpoint.read_state(tmp_path / "half")["variables"]
    said = train(name, shapes, tmp_path / "half", *options)
    assert "resumed at step 3" in said
    states = [checkpoint.read_state(tmp_path / each) for each in ("whole", "half")]
    jax.tree.map(np.testing.assert_array_equal, *states)
    thawed = jax.tree.map(np.array_equal, frozen["params"], states[0]["variables"]["params"])
    assert not any(jax.tree.leaves(thawed["backbone"]))  # all of it moves in the fourth step
    for size in (64, 96):  # any size can be evaluated
        other = ["--mode=eval", f"--config.model.size={size}", *options]
        assert f"input {size}x{size} letterboxed" in train(name, shapes, tmp_path / "half", *other)
    detector = jaxdet.load(tmp_path / "half")
    assert detector.detector.fit is letterbox
    detector(np.zeros((30, 50, 3), np.uint8))
