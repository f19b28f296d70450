"""Two processes on the CPU train, evaluate and stop as one does; when others are looked for."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from conftest import ROOT, SMALL, train

from jaxdet.training import checkpoint, logs, parallel

FIVE = [
    "--config.schedule.steps=5",
    "--config.every.checkpoint=3",
    "--config.every.log=1",
    "--config.every.picture=0",
]


def command(shapes, workdir, *arguments):
    shared = ["--config=configs/quickstart.py", f"--config.data.dir={shapes}", *SMALL, *arguments]
    return [sys.executable, "-m", "jaxdet.main", *shared, f"--workdir={workdir}"]


def start(arguments):
    """Processes with two devices each; their stdout and stderr come together."""
    return subprocess.Popen(
        arguments,
        cwd=ROOT,
        env={**os.environ, "JAX_NUM_CPU_DEVICES": "2"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start_two(shapes, workdir, *arguments):
    """Two processes on one run."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"localhost:{free.getsockname()[1]}"
    both = [*command(shapes, workdir, *arguments), f"--coordinator={coordinator}"]
    return [start([*both, "--num_processes=2", f"--process_id={i}"]) for i in range(2)]


def end(processes):
    """What they said, and how they ended."""
    said = [process.communicate(timeout=300)[0] for process in processes]
    return said, [process.returncode for process in processes]


@pytest.fixture(scope="module")
def one(shapes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("one") / "run"
    train(shapes, folder, *FIVE, JAX_NUM_CPU_DEVICES="4")
    return folder


@pytest.fixture(scope="module")
def two(shapes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two") / "run"
    said, codes = end(start_two(shapes, folder, *FIVE))
    assert codes == [0, 0], said[0][-3000:] + said[1][-3000:]
    return folder, said


def assert_close(a, b):
    states = [checkpoint.read_state(folder) for folder in (a, b)]
    assert states[0]["step"] == states[1]["step"] == 5
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), *states)


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, *map(checkpoint.read_state, (a, b)))


def lines(folder):
    return [json.loads(line) for line in (folder / logs.METRICS).read_text().splitlines()]


@pytest.mark.slow
def test_two_processes_equal_one(one, two):
    folder, said = two
    assert_close(one, folder)
    ours, theirs = lines(folder), lines(one)
    assert [(r["step"], r["kind"]) for r in ours] == [(r["step"], r["kind"]) for r in theirs]
    assert ours[-1]["kind"] == "eval" and ours[-1]["AR100"] > 0
    np.testing.assert_allclose(*([r["loss"] for r in x[:-1]] for x in (ours, theirs)), rtol=1e-5)
    for name in theirs[-1].keys() - {"kind"}:
        value = theirs[-1][name]
        assert ours[-1][name] == pytest.approx(value, rel=1e-4, abs=1e-9), name
    assert "4 x cpu" in said[0] and "step 5, shapes_val" in said[0]
    assert "step 5" not in said[1] and "training" not in said[1]  # the first one speaks
    assert len(list((folder / logs.TENSORBOARD).iterdir())) == 1


@pytest.mark.slow
def test_another_number_of_processes_resumes(shapes, one, two, tmp_path):
    shutil.copytree(two[0], tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "5")
    said = train(shapes, tmp_path / "run", *FIVE, JAX_NUM_CPU_DEVICES="4")
    assert "resumed at step 3" in said
    assert_close(one, tmp_path / "run")
    assert [r["step"] for r in lines(tmp_path / "run")] == [1, 2, 3, 4, 5, 5]


@pytest.mark.slow
def test_open_mpi_starts_the_same_two(shapes, two, tmp_path):
    beside = pathlib.Path(sys.executable).parent
    mpirun = shutil.which("mpirun", path=f"{beside}:{os.environ['PATH']}")
    if mpirun is None:
        pytest.skip("mpirun is not installed, see the extra [dev]")
    launch = [mpirun, "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", "2"]
    options = [*FIVE, "--config.every.evaluation=0"]
    said, codes = end([start([*launch, *command(shapes, tmp_path / "run", *options)])])
    assert codes == [0], said[0][-3000:]
    assert "4 x cpu" in said[0]
    assert_same(two[0], tmp_path / "run")


@pytest.mark.slow
def test_the_death_of_one_ends_the_other_and_both_run_again_go_on(shapes, two, tmp_path):
    options = [*FIVE, "--config.every.evaluation=0"]
    processes = start_two(shapes, tmp_path, *options)
    while processes[0].poll() is None and not checkpoint.steps(tmp_path):
        time.sleep(0.05)
    processes[0].kill()
    said, codes = end(processes)
    assert codes[0] == -signal.SIGKILL and codes[1] not in (0, os.EX_TEMPFAIL), said[1][-3000:]
    said, codes = end(start_two(shapes, tmp_path, *options))
    assert codes == [0, 0] and "resumed at step 3" in said[0], said[0][-3000:]
    assert_same(two[0], tmp_path)


@pytest.mark.slow
def test_a_signal_to_one_stops_both_at_the_same_step(shapes, tmp_path):
    long = ["--config.schedule.steps=4000", "--config.every.log=1", "--config.every.picture=0"]
    processes = start_two(shapes, tmp_path, *long)
    while processes[1].poll() is None and not (tmp_path / logs.METRICS).exists():
        time.sleep(0.05)
    processes[1].send_signal(signal.SIGTERM)
    said, codes = end(processes)
    assert codes == [75, 75], said[0][-3000:] + said[1][-3000:]
    step = checkpoint.steps(tmp_path)[-1]
    assert step < 4000 and f"saved at step {step}" in said[0]


def test_others_are_looked_for_where_a_launcher_says_so():
    assert not parallel.started_with_others({})
    in_step = {"SLURM_STEP_NODELIST": "node[1-2]", "SLURM_PROCID": "0"}
    assert parallel.started_with_others({**in_step, "SLURM_NTASKS": "2"})
    assert not parallel.started_with_others({**in_step, "SLURM_NTASKS": "1"})
    assert not parallel.started_with_others({"SLURM_NTASKS": "8"})  # the batch script itself
    assert parallel.started_with_others({"OMPI_COMM_WORLD_SIZE": "2"})
    assert not parallel.started_with_others({"OMPI_COMM_WORLD_SIZE": "1"})
    # mpirun in a SLURM job of two nodes, on the second: its daemon there is a step of one task.
    there = {"SLURM_STEP_NODELIST": "n2", "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}
    assert parallel.started_with_others({**there, "OMPI_COMM_WORLD_SIZE": "2"})


def test_what_open_mpi_5_says():
    said = {"PMIX_NAMESPACE": "prterun-gpu-a-14496@1"}  # mpirun is process 14496 on gpu-a
    numbers = {"SIZE": "4", "RANK": "3", "LOCAL_RANK": "1"}
    said |= {f"OMPI_COMM_WORLD_{name}": value for name, value in numbers.items()}
    assert parallel.open_mpi_5(said) == ("gpu-a:63648", 4, 3, 1)
    elsewhere = {"JAX_COORDINATOR_ADDRESS": "gpu-b:1234"}
    assert parallel.open_mpi_5({**said, **elsewhere}) == ("gpu-b:1234", 4, 3, 1)
    assert parallel.open_mpi_5({**said, "PMIX_NAMESPACE": "1221459969"}) == ()  # Open MPI 4
    assert parallel.open_mpi_5({}) == ()


def test_half_an_address_is_refused():
    with pytest.raises(ValueError, match="belong together, found localhost:1, None, 0"):
        parallel.initialise("localhost:1", None, 0)


def test_the_mesh_goes_process_after_process(monkeypatch):
    class Device:
        def __init__(self, process_index, id):
            self.process_index, self.id = process_index, id

    devices = [Device(0, 0), Device(1, 1), Device(0, 2), Device(1, 3)]
    monkeypatch.setattr(jax, "devices", lambda: devices)
    monkeypatch.setattr(parallel, "Mesh", lambda found, names: found)
    assert [d.id for d in parallel.mesh()] == [0, 2, 1, 3]
