"""A workdir on gs://: trained, resumed, followed and loaded as a local one, by command.

It lies on an emulator of Google Cloud Storage on this machine; nothing beyond it is asked.
"""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT, SMALL, run, train
from etils import epath
from test_crash import shown, without_speed
from test_main import assert_same_state

import jaxdet
from jaxdet import data, visualize
from jaxdet.engine import watch
from jaxdet.training import best_checkpoint, checkpoint, logs, workdir

for needed in ("gcp_storage_emulator", "gcsfs", "google.cloud.storage"):
    pytest.importorskip(needed, reason=f"{needed} is not installed, see the extra [dev]")

import gcs_emulator  # noqa: E402

WORKDIR = f"gs://{gcs_emulator.BUCKET}/run"
OPTIONS = [
    "--config.every.checkpoint=1",
    "--config.every.log=1",
    "--config.every.evaluation=3",
    "--config.every.picture=0",
    "--config.every.keep=3",
]


@pytest.fixture(scope="module")
def local(shapes, tmp_path_factory):
    """A local workdir that ran the same without a break."""
    folder = tmp_path_factory.mktemp("local") / "run"
    train(shapes, folder, *OPTIONS)
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """The emulator: where the files of the workdir lie, and what programs need to know of it."""
    folder = tmp_path_factory.mktemp("store")
    with gcs_emulator.running(folder) as url:
        yield gcs_emulator.objects_in(folder) / "run", url, gcs_emulator.environment(url)


@pytest.fixture(scope="module")
def resumed(shapes, store):
    """Trained to step 3 and then to 6, evaluated beside; two of the checkpoints were damaged."""
    folder, url, environment = store
    process = follower(shapes, environment)
    try:
        train(shapes, WORKDIR, *OPTIONS, "--until=3", **environment)
        await_evaluations([1, 2, 3], folder, process)
        # Its end tells a checkpoint from what a killed run was writing.
        gcs_emulator.delete(url, "run/checkpoints/3/commit_success.txt")
        gcs_emulator.put(url, "run/checkpoints/2/state/_METADATA", b"cut sh")
        said = train(shapes, WORKDIR, *OPTIONS, **environment)
        followed, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, followed
    return folder, said


def follower(shapes, environment):
    place = [f"--workdir={WORKDIR}", f"--config.data.dir={shapes}"]
    command = [sys.executable, "-m", "jaxdet.main", "--config=configs/quickstart.py", *place]
    return subprocess.Popen(
        [*command, *SMALL, *OPTIONS, "--mode=eval", "--follow"],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def await_evaluations(steps, folder, process):
    end = time.monotonic() + 60
    while steps_of(folder / watch.EVALUATIONS) != steps:
        assert process.poll() is None and time.monotonic() < end, "the follower saw too little"
        time.sleep(0.05)


def steps_of(path):
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line)["step"] for line in lines]


@pytest.mark.slow
def test_resumes_before_the_damage_and_ends_as_a_local_workdir(resumed, local):
    folder, said = resumed
    assert f"{WORKDIR}/checkpoints/2 cannot be read" in said
    assert f"resumed at step 1 from {WORKDIR}/checkpoints/1" in said
    assert (folder / "checkpoints" / "damaged-2-1" / "state").exists()
    assert_same_state(local, folder)
    assert not (ROOT / "gs:").exists()


@pytest.mark.slow
def test_logs_have_every_step_once(resumed, local):
    folder, _ = resumed
    assert without_speed(folder) == without_speed(local)
    assert [line["step"] for line in without_speed(folder)] == [1, 2, 3, 3, 4, 5, 6, 6]
    assert len(list((folder / logs.TENSORBOARD).iterdir())) == 2
    for tag in ("train/loss", "eval/AP"):
        assert shown(folder, tag) == shown(local, tag)


EVALUATED_THEN_KILLED = """
import os
from etils import epath
from jaxdet.training import logs
log = logs.Log(epath.Path("gs://bucket/killed"), resumed_at=0)
log.scalars(1, "train", {"loss": 2.0})
log.flush()  # the checkpoint of step 1
log.scalars(1, "eval", {"AP": 0.5})
os._exit(9)
"""


def test_an_evaluation_that_is_in_one_log_is_in_both(store):
    folder, _, environment = store
    command = [sys.executable, "-c", EVALUATED_THEN_KILLED]
    killed = subprocess.run(command, cwd=ROOT, env={**os.environ, **environment})
    assert killed.returncode == 9
    folder = folder.with_name("killed")
    assert [line["kind"] for line in without_speed(folder)] == ["train", "eval"]
    assert shown(folder, "train/loss") == [(1, 2.0)] and shown(folder, "eval/AP") == [(1, 0.5)]


@pytest.mark.slow
def test_keeps_the_newest_and_the_best(resumed, local):
    folder, _ = resumed
    assert checkpoint.steps(local) == [4, 5, 6]
    assert folders_in(folder / "checkpoints") == {"4", "5", "6", "damaged-2-1"}
    kept = checkpoint.steps(local / best_checkpoint.FOLDER)
    assert len(kept) == 1 and folders_in(folder / best_checkpoint.FOLDER / "checkpoints") == {
        str(kept[0])
    }


def folders_in(folder):
    """Those with an object below: the emulator leaves empty folders behind."""
    return {file.relative_to(folder).parts[0] for file in folder.rglob("*") if file.is_file()}


@pytest.mark.slow
def test_a_process_beside_sees_each_checkpoint_appear(resumed):
    folder, _ = resumed
    *_, last = steps_of(folder / watch.EVALUATIONS)
    assert last == 6
    (evaluation,) = [line for line in without_speed(folder) if line["kind"] == "eval"][1:]
    line = json.loads((folder / watch.EVALUATIONS).read_text().splitlines()[-1])
    assert line["AR100"] == pytest.approx(evaluation["AR100"], rel=1e-4)


@pytest.mark.slow
def test_loads_as_a_local_workdir(resumed, local, shapes, store, tmp_path):
    image = data.open("shapes_val", dir=shapes).image(0)
    visualize.save_png(tmp_path / "in" / "0.png", image)
    places = {"workdir": WORKDIR, "input": tmp_path / "in", "output": tmp_path / "out"}
    arguments = [f"--{name}={place}" for name, place in places.items()]
    run(*arguments, "--score_threshold=0", module="jaxdet.predict", **store[2])
    found = json.loads((tmp_path / "out" / "detections.json").read_text())
    expected = jaxdet.load(local)(image)
    assert len(found) == len(expected.scores) > 0
    np.testing.assert_allclose([each["score"] for each in found], expected.scores, atol=1e-5)


def test_a_bucket_that_refuses_is_one_clear_line(monkeypatch):
    folder = epath.Path("gs://another/run")

    def refuse(self, **options):
        raise RuntimeError("Anonymous caller does not have access, 401")  # as gcsfs has its own

    monkeypatch.setattr(type(folder), "mkdir", refuse)
    with pytest.raises(
        OSError, match="gs://another/run cannot be reached: Anonymous caller"
    ) as said:
        workdir.claim(folder, {})
    assert "expected a bucket that this machine may read and write" in str(said.value)
