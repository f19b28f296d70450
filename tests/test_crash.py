"""A run that is killed, told to stop, or crashed ends as one that was left alone."""

import errno
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from conftest import ROOT, SMALL, train
from ml_collections import ConfigDict
from tensorboardX.proto.event_pb2 import Event, SessionLog

from jaxdet.engine import train as training
from jaxdet.training import best_checkpoint, checkpoint, logs, workdir

STEPS = 160  # twenty kills leave some
LONG = [
    f"--config.schedule.steps={STEPS}",
    "--config.every.log=1",
    "--config.every.evaluation=0",
    "--config.every.picture=0",
]


def command(shapes, folder):
    place = [f"--config.data.dir={shapes}", f"--workdir={folder}"]
    return [sys.executable, "-m", "jaxdet.main", "--config=configs/quickstart.py", *place, *SMALL]


@pytest.fixture(scope="module")
def untouched(shapes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("untouched") / "run"
    train(shapes, folder, *LONG)
    return folder


@pytest.mark.slow
def test_killed_twenty_times_ends_as_if_never_touched(shapes, untouched, tmp_path):
    _, _, _, *arguments = command(shapes, tmp_path)
    arguments += [*LONG, "--config.every.checkpoint=2"]
    done = subprocess.run(
        [sys.executable, "tests/restarts.py", "20", "0", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert done.stdout.count("killed at") == 20
    assert len(set(re.findall(r"resumed at step (\d+)", done.stdout))) > 3  # it got on meanwhile
    assert_same(untouched, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("told_by", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_saves_and_says_run_me_again(shapes, untouched, tmp_path, told_by):
    told = subprocess.Popen(
        [*command(shapes, tmp_path), *LONG], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with told as process:
        while process.poll() is None and not (tmp_path / logs.METRICS).exists():
            time.sleep(0.01)
        process.send_signal(told_by)
        time.sleep(0.02)
        process.send_signal(signal.SIGTERM)  # while it saves
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 75, said
    step = checkpoint.steps(tmp_path)[-1]
    assert 1 <= step < STEPS and step != 100  # where it would have been saved anyway
    assert f"saved at step {step} in {tmp_path}; run the same command again" in said
    assert f"resumed at step {step}" in train(shapes, tmp_path, *LONG)
    assert_same(untouched, tmp_path)


@pytest.mark.slow
def test_the_second_interrupt_ends_at_once_with_one_line(shapes, tmp_path):
    told = subprocess.Popen(
        [*command(shapes, tmp_path), *LONG], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    with told as process:
        while process.poll() is None and not (tmp_path / logs.METRICS).exists():
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode in (75, 130)  # it may have saved in between
    assert "Traceback" not in said


def assert_same(a, b):
    states = [checkpoint.read_state(folder) for folder in (a, b)]
    assert len(jax.tree.leaves(states[0])) > 50 and states[0]["step"] == STEPS
    jax.tree.map(np.testing.assert_array_equal, *states)
    positions = [folder / f"checkpoints/{STEPS}/data/metadata" for folder in (a, b)]
    assert positions[0].read_text() == positions[1].read_text()
    lines = [without_speed(folder) for folder in (a, b)]
    assert [line["step"] for line in lines[0]] == list(range(1, STEPS + 1))
    assert lines[0] == lines[1]
    losses = [(line["step"], np.float32(line["loss"])) for line in lines[0]]
    for folder in (a, b):
        assert shown(folder, "train/loss") == losses


def without_speed(folder):
    speed = ("images_per_second", "share_waiting_for_input")
    lines = map(json.loads, (folder / logs.METRICS).read_text().splitlines())
    return [{name: value for name, value in line.items() if name not in speed} for line in lines]


def shown(folder, tag):
    """The (step, value) of a tag as TensorBoard shows them.

    It reads file after file, each to where it was cut short, and forgets the steps from that of
    a START on (`EventAccumulator._CheckForRestartAndMaybePurge`).
    """
    points = []
    for path in sorted((folder / logs.TENSORBOARD).iterdir()):
        for event in events(path.read_bytes()):
            if event.session_log.status == SessionLog.START:
                points = [(step, value) for step, value in points if step < event.step]
            values = [v.simple_value for v in event.summary.value if v.tag == tag]
            points += [(event.step, np.float32(value)) for value in values]
    return points


def events(content):
    at = 0
    while len(content) >= at + 12:
        (length,) = struct.unpack("<Q", content[at : at + 8])
        if len(content) < at + 16 + length:
            return
        yield Event.FromString(content[at + 12 : at + 12 + length])
        at += 16 + length


@pytest.mark.slow
def test_an_evaluation_that_a_crash_cut_short_is_made_again(shapes, trained, tmp_path):
    whole, _ = trained
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    *kept, last = (whole / logs.METRICS).read_text().splitlines()
    assert json.loads(last)["kind"] == "eval"
    (folder / logs.METRICS).write_text("\n".join(kept) + '\n{"step": 6, "ki')
    shutil.rmtree(folder / best_checkpoint.FOLDER)
    assert "best AP so far" in train(shapes, folder)
    assert (folder / logs.METRICS).read_text() == (whole / logs.METRICS).read_text()
    assert checkpoint.read(folder / best_checkpoint.FOLDER)[2] == 6


@pytest.mark.slow
def test_a_full_disk_is_one_clear_line_and_the_same_command_goes_on(shapes, trained, tmp_path):
    """Files may have 64 kB: logs fit, a checkpoint does not."""
    bare = ["--config.every.picture=0", "--config.every.evaluation=0"]
    train(shapes, tmp_path, "--until=2", *bare)
    limited = ["bash", "-c", 'ulimit -f 64; exec "$@"', "bash", *command(shapes, tmp_path), *bare]
    done = subprocess.run(limited, cwd=ROOT, capture_output=True, text=True, timeout=300)
    said = done.stderr
    assert done.returncode == 2, said[-3000:]
    last = said.splitlines()[-1]
    assert last.startswith(f"jaxdet: could not write a checkpoint to {tmp_path}/checkpoints")
    assert "checkpoint 2 is intact" in last and "run the same command again" in last
    assert "Traceback" not in said
    assert checkpoint.read(tmp_path)[2] == 2


@pytest.mark.slow
def test_a_second_run_in_the_same_folder_is_refused(shapes, tmp_path):
    with workdir.lock(tmp_path):
        said = train(shapes, tmp_path, ok=False)
    assert f"{tmp_path} is in use by process {os.getpid()} on {socket.gethostname()}" in said
    assert "Traceback" not in said and not (tmp_path / "checkpoints").exists()


def test_a_disk_that_is_full_for_the_logs_is_named_too(tmp_path, monkeypatch):
    def start(config, folder):
        (folder / "checkpoints" / "4").mkdir(parents=True)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(training, "start", start)
    config = ConfigDict({"schedule": {"steps": 6}})
    with pytest.raises(OSError, match="No space left on device; checkpoint 4 is intact") as caught:
        training.train(config, tmp_path)
    assert f"could not write to {tmp_path}" in str(caught.value)
