"""What is recorded of how a run began."""

import datetime
import json
import subprocess
import sys

from etils import epath

from jaxdet.training import origin
from jaxdet.version import __version__


def test_a_new_run_records_its_flags_version_time_and_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["main.py", "--config=x", "--config.seed=1"])
    folder = epath.Path(tmp_path)
    origin.record(folder)
    known = origin.read(folder)
    assert known["flags"] == ["--config=x", "--config.seed=1"]
    assert known["version"] == __version__
    age = datetime.datetime.now().astimezone() - datetime.datetime.fromisoformat(known["began"])
    assert 0 <= age.total_seconds() < 60
    git = ["git", "-C", str(origin._PACKAGE), "rev-parse", "HEAD"]
    head = subprocess.run(git, capture_output=True, text=True).stdout.strip()
    assert known.get("commit", "").rstrip("+") == head  # empty where this is no checkout
    monkeypatch.setattr(sys, "argv", ["main.py", "--config=y"])
    origin.record(folder)  # resumed
    assert origin.read(folder) == known


def test_an_older_run_is_dated_by_its_log(tmp_path):
    folder = epath.Path(tmp_path)
    assert origin.read(folder) == {}
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "tensorboard" / "events.out.tfevents.1700000000.host.1.2").touch()
    began = datetime.datetime.fromtimestamp(1_700_000_000)
    assert origin.read(folder) == {"began": began.isoformat()} and origin.began(folder) == began


def test_a_run_that_recorded_its_beginning_is_dated_by_it(tmp_path):
    text = json.dumps({"began": "2026-01-31T12:00:00+00:00", "commit": None})
    (tmp_path / origin.ORIGIN).write_text(text)
    folder = epath.Path(tmp_path)
    assert origin.began(folder).astimezone(datetime.UTC).isoformat() == "2026-01-31T12:00:00+00:00"
    assert "commit" not in origin.read(folder)
