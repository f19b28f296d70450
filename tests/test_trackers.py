"""Trackers: what a run logs arrives in each, and a resumed run goes on in the same place."""

import csv
import importlib.util

import numpy as np
import pytest

from configs import quickstart
from jaxdet import build
from jaxdet.engine import setup
from jaxdet.training import logs, trackers

CONFIG = {"seed": 0, "schedule": {"steps": 9, "warmup": 0.5}}
IMAGE = np.zeros((4, 6, 3), np.uint8)


def write(folder, name, steps, *, resumed_at=0):
    log = logs.Log(folder, resumed_at=resumed_at, names=(name,), config=CONFIG)
    for step in steps:
        log.scalars(step, "train", {"loss": step / 2})
    log.scalars(steps[-1], "eval", {"AP": 0.25})
    log.image(steps[-1], "predictions", IMAGE)
    log.flush()
    log.close()


def test_csv_has_every_step_once_after_a_resume(tmp_path):
    write(tmp_path, "csv", (1, 2, 3))
    with (tmp_path / trackers.CSV).open("a") as file:
        file.write("4,train,lo")  # killed while writing
    write(tmp_path, "csv", (3, 4), resumed_at=2)
    with (tmp_path / trackers.CSV).open() as file:
        rows = list(csv.DictReader(file))
    assert [(int(r["step"]), r["kind"], r["name"], float(r["value"])) for r in rows] == [
        (1, "train", "loss", 0.5),
        (2, "train", "loss", 1.0),
        (3, "train", "loss", 1.5),
        (4, "train", "loss", 2.0),
        (4, "eval", "AP", 0.25),
    ]
    assert not (tmp_path / logs.TENSORBOARD).exists()


def test_mlflow_goes_on_in_the_same_run(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    write(tmp_path / "w", "mlflow", (1, 2))
    write(tmp_path / "w", "mlflow", (3,), resumed_at=2)
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name(trackers.PROJECT)
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED" and run.data.params["schedule.warmup"] == "0.5"
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(each.step, each.value) for each in history] == [(1, 0.5), (2, 1.0), (3, 1.5)]
    assert run.data.metrics["eval/AP"] == 0.25


def test_wandb_offline_goes_on_in_the_same_run(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    write(tmp_path, "wandb", (1, 2))
    write(tmp_path, "wandb", (3,), resumed_at=2)
    runs = sorted((tmp_path / "wandb").glob("offline-run-*"))
    name = (tmp_path / "wandb_run").read_text()
    assert len(runs) == 2 and all(run.name.endswith(name) for run in runs)
    content = b"".join(file.read_bytes() for run in runs for file in run.glob("*.wandb"))
    assert b"train/loss" in content and b"eval/AP" in content


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_is_said_before_anything_is_built(name, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == name else real(n))
    config = quickstart.get_config()
    config.log = ("tensorboard", name)
    with pytest.raises(ImportError, match=rf"pip install 'jaxdet\[{name}\]'"):
        setup.check(config)


def test_an_unknown_tracker_is_refused():
    config = quickstart.get_config()
    config.log = ("tensorbord",)
    with pytest.raises(ValueError, match="config.log: there is no 'tensorbord'; did you mean"):
        build.check_keys(config)
