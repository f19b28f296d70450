"""The YOLOs through the command line: sizes, freezing and freebies, resumed bit for bit."""

import json

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


@pytest.mark.slow
def test_yoloxs_last_steps_are_without_mixes_and_with_l1(shapes, tmp_path):
    """Of four steps two are mixed, and in the last two L1 counts; resumed bit for bit."""
    options = [
        "--config.model.head.width=0.125",
        "--config.augment.mix=({'name':'mosaic_yolox','until':2},{'name':'mixup_yolox','until':2})",
        "--config.schedule.name=yolox",
        "--config.step.late_from=3",
        "--config.every.evaluation=0",
        "--config.every.picture=0",
    ]
    train("yolox_s_voc", shapes, tmp_path / "whole", *options)
    train("yolox_s_voc", shapes, tmp_path / "half", "--until=2", *options)
    said = train("yolox_s_voc", shapes, tmp_path / "half", *options)
    assert "resumed at step 2" in said
    states = [checkpoint.read_state(tmp_path / each) for each in ("whole", "half")]
    jax.tree.map(np.testing.assert_array_equal, *states)
    logged = [json.loads(line) for line in (tmp_path / "whole/metrics.jsonl").open()]
    l1 = [line["l1"] for line in logged if line["kind"] == "train"]
    assert [loss > 0 for loss in l1] == [False, False, True, True]
