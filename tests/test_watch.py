"""Evaluation as a process of its own: every checkpoint once, as it appears, until the last."""

import json
import shutil

import pytest
from conftest import train
from ml_collections import ConfigDict

from jaxdet.engine import watch
from jaxdet.training import checkpoint, logs


@pytest.fixture
def config(trained):
    return ConfigDict(checkpoint.read_description(trained[0])["config"])


def lines(folder):
    return [json.loads(line) for line in (folder / watch.EVALUATIONS).read_text().splitlines()]


@pytest.mark.slow
def test_evaluates_each_checkpoint_when_it_comes_and_only_once(
    trained, config, tmp_path, monkeypatch
):
    newest = trained[0] / "checkpoints" / "6"

    def train_on(seconds):  # instead of waiting: 2 is there, then 4, then 6
        step = checkpoint.steps(tmp_path)[-1] + 2 if checkpoint.steps(tmp_path) else 2
        shutil.copytree(newest, tmp_path / "checkpoints" / str(step))

    monkeypatch.setattr(watch.time, "sleep", train_on)
    watch.watch(config, tmp_path, last_step=6)
    found = lines(tmp_path)
    assert [line["step"] for line in found] == [2, 4, 6]
    assert found[0]["AR100"] == found[2]["AR100"] > 0 and "NMS" in found[0]["protocol"]

    (tmp_path / watch.EVALUATIONS).write_text(json.dumps(found[0]) + '\n{"step": 4, "AP')
    watch.watch(config, tmp_path, last_step=6)  # goes on after the last whole line
    assert lines(tmp_path) == found
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoints", watch.EVALUATIONS]


@pytest.mark.slow
def test_a_checkpoint_that_goes_before_its_turn_is_no_error(trained, config, tmp_path, monkeypatch):
    newest = trained[0] / "checkpoints" / "6"
    for step in (4, 6):
        shutil.copytree(newest, tmp_path / "checkpoints" / str(step))
    read = checkpoint.read

    def read_late(folder, *, step):
        if step == 4:
            shutil.rmtree(tmp_path / "checkpoints" / "4")
        return read(folder, step=step)

    monkeypatch.setattr(checkpoint, "read", read_late)
    watch.watch(config, tmp_path, last_step=6)
    assert [line["step"] for line in lines(tmp_path)] == [6]


@pytest.mark.slow
def test_by_command_it_says_what_training_said(shapes, trained):
    folder, _ = trained
    said = train(shapes, folder, "--mode=eval", "--follow")
    assert f"metrics      {folder}/{watch.EVALUATIONS}" in said
    (line,) = lines(folder)
    logged = json.loads((folder / logs.METRICS).read_text().splitlines()[-1])
    assert line["step"] == 6 and line["AP"] == pytest.approx(logged["AP"], rel=1e-4)
