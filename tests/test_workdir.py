"""A workdir takes one recipe and one run at a time, and says what differs."""

import json
import os

import fsspec
import pytest
from etils import epath
from fsspec.implementations.memory import MemoryFileSystem

from jaxdet.training import logs, workdir

CONFIG = {"seed": 0, "data": {"train": "a", "dir": "x"}, "every": {"log": 1}}


def test_claims_a_new_folder_and_accepts_the_same_config_again(tmp_path):
    workdir.claim(tmp_path / "w", CONFIG)
    workdir.claim(tmp_path / "w", CONFIG)
    assert (tmp_path / "w" / workdir.CONFIG).exists()


def test_refuses_another_config_and_names_both_values(tmp_path):
    workdir.claim(tmp_path, CONFIG)
    other = {**CONFIG, "seed": 1, "data": {"train": "b", "dir": "y"}}
    with pytest.raises(ValueError) as caught:
        workdir.claim(tmp_path, other)
    assert "config.seed was 0, is 1" in str(caught.value)
    assert "config.data.train was 'a', is 'b'" in str(caught.value)
    assert "data.dir" not in str(caught.value)  # where data lies may change
    workdir.claim(tmp_path, CONFIG)  # and the folder is as it was


def test_what_only_reports_may_change(tmp_path):
    workdir.claim(tmp_path, CONFIG)
    workdir.claim(tmp_path, {**CONFIG, "every": {"log": 7}})


def test_an_added_key_is_a_difference():
    assert workdir.differences({}, {"a": {"b": 1}}) == {"a.b": "config.a.b was '(absent)', is 1"}


def test_one_process_has_it_until_it_lets_go(tmp_path):
    held = workdir.lock(tmp_path / "w")
    with pytest.raises(ValueError, match=f"in use by process {os.getpid()} on "):
        workdir.lock(tmp_path / "w")
    held.close()
    workdir.lock(tmp_path / "w").close()


def test_a_text_is_replaced_at_once(tmp_path, monkeypatch):
    path = epath.Path(tmp_path) / "config.json"
    workdir.write_text(path, "old")

    def crash(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(path), "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        workdir.write_text(path, "new")
    assert path.read_text() == "old"


@pytest.fixture
def bucket(monkeypatch):
    """A folder on an object store, of which the memory of this process plays the part."""
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(fsspec, "filesystem", lambda *_, **__: MemoryFileSystem())
    return epath.Path("gs://bucket/run")


def test_on_an_object_store_there_is_no_lock_but_the_same_claim(bucket):
    assert str(bucket) == "gs://bucket/run"
    assert workdir.lock(bucket) is None
    workdir.claim(bucket, CONFIG)
    assert json.loads((bucket / workdir.CONFIG).read_text()) == CONFIG
    with pytest.raises(ValueError, match="config.seed was 0, is 1"):
        workdir.claim(bucket, {**CONFIG, "seed": 1})


def test_on_an_object_store_lines_are_kept_though_it_cannot_append(bucket, monkeypatch):
    opened = MemoryFileSystem._open

    def refuse_append(self, path, mode="rb", **options):
        assert "a" not in mode
        return opened(self, path, mode, **options)

    monkeypatch.setattr(MemoryFileSystem, "_open", refuse_append)
    path = bucket / logs.METRICS
    logs.Lines(path).append({"step": 1})
    lines = logs.Lines(path)
    lines.append({"step": 2})
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'
    logs.Lines(path, until=1)
    assert path.read_text() == '{"step": 1}\n'
