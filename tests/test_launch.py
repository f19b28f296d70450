"""Launch scripts print what they would run, and refuse to start without what they need."""

import os
import pathlib
import subprocess

import pytest

SCRIPTS = sorted((pathlib.Path(__file__).resolve().parents[1] / "launch").glob("*.sh"))
NEEDED = {
    "PROJECT": "a-project",
    "ZONE": "a-zone",
    "CONFIG": "configs/ssd300_voc.py",
    "WORKDIR": "gs://bucket/run",
}


def dry_run(script, **variables):
    environment = {"PATH": os.environ["PATH"], "DRY_RUN": "1", **variables}
    return subprocess.run(["bash", script], env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_dry_run_prints_creation_training_and_deletion_in_order(script):
    done = dry_run(script, **NEEDED)
    assert done.returncode == 0, done.stderr
    create, train, delete = (
        done.stdout.index(word) for word in (" create ", "jaxdet.main", " delete ")
    )
    assert create < train < delete
    for value in NEEDED.values():
        assert value in done.stdout


@pytest.mark.parametrize("missing", NEEDED)
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_missing_variable_is_named(script, missing):
    done = dry_run(script, **{k: v for k, v in NEEDED.items() if k != missing})
    assert done.returncode != 0 and missing in done.stderr and not done.stdout
