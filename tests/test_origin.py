"""What is recorded of how a run began."""

import datetime
import json
import subprocess

from etils import epath

from jaxdet.training import origin
from jaxdet.version import __version__


def test_a_new_run_records_its_recipe_version_time_and_commit(tmp_path):
    folder = epath.Path(tmp_path / "run")
    origin.record(folder, recipe="configs/x.py")
    known = origin.read(folder)
    assert (known["recipe"], known["version"]) == ("configs/x.py", __version__)
    age = datetime.datetime.now().astimezone() - datetime.datetime.fromisoformat(known["began"])
    assert 0 <= age.total_seconds() < 60
    git = ["git", "-C", str(origin._PACKAGE), "rev-parse", "HEAD"]
    head = subprocess.run(git, capture_output=True, text=True).stdout.strip()
    assert known.get("commit", "").rstrip("+") == head  # empty where this is no checkout


def test_resuming_keeps_it_and_an_older_run_gets_none(tmp_path):
    folder, old = epath.Path(tmp_path / "run"), epath.Path(tmp_path / "old")
    origin.record(folder, recipe="first.py")
    origin.record(folder, recipe="second.py")
    assert origin.read(folder)["recipe"] == "first.py"
    (tmp_path / "old" / "tensorboard").mkdir(parents=True)
    (tmp_path / "old" / "config.json").write_text("{}")
    origin.record(old, recipe="second.py")
    assert origin.read(old) == {} and not (old / origin.ORIGIN).exists()
    (tmp_path / "old" / "tensorboard" / "events.out.tfevents.1700000000.host.1.2").touch()
    began = datetime.datetime.fromtimestamp(1_700_000_000)
    assert origin.read(old) == {"began": began.isoformat()} and origin.began(old) == began


def test_a_run_that_recorded_its_beginning_is_dated_by_it(tmp_path):
    text = json.dumps({"began": "2026-01-31T12:00:00+00:00", "commit": None})
    (tmp_path / origin.ORIGIN).write_text(text)
    folder = epath.Path(tmp_path)
    assert origin.began(folder).astimezone(datetime.UTC).isoformat() == "2026-01-31T12:00:00+00:00"
    assert "commit" not in origin.read(folder)
