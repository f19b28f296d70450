"""Launch scripts: what they would run, what they need, and what they make of an exit code."""

import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
LAUNCH = ROOT / "launch"
CLOUD = {
    "PROJECT": "a-project",
    "ZONE": "a-zone",
    "CONFIG": "configs/ssd300_voc.py",
    "WORKDIR": "gs://bucket/run",
}
HERE = {"CONFIG": "configs/ssd300_voc.py", "WORKDIR": "a folder/run"}
NEEDED = {"tpu_vm.sh": CLOUD, "gke_xpk.sh": CLOUD, "slurm.sh": HERE, "multi_gpu.sh": HERE}
MORE = ["--config.model.dtype=bfloat16", "--config.schedule.boundaries=(80, 90)"]
PREEMPTED, GONE = 75, 255

# Stands for every command that the scripts call: notes its arguments, and for the one that matters
# ($MATTERS, a pattern) takes the next exit code from a list.
FAKE = """#!/usr/bin/env bash
{ printf ' %q' "${0##*/}" "$@" && echo; } >> "$LOG"
[[ $* != *describe* ]] || echo "${STATE:-ACTIVE}"
[[ $* != *" list --filter="* ]] || echo -n "${EXISTING:-}"
[[ "${0##*/} $*" == *$MATTERS* ]] || exit 0
read -r code < "$CODES"
sed -i 1d "$CODES"
exit "$code"
"""


def dry_run(script, variables, *arguments):
    environment = {"PATH": os.environ["PATH"], "DRY_RUN": "1", "TMPDIR": "/tmp", **variables}
    command = ["bash", LAUNCH / script, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def commands(text):
    """The commands of a listing, as lists of arguments."""
    return [shlex.split(line.removeprefix("+")) for line in text.splitlines()]


def only(listed, start):
    """The one command of a listing that begins so."""
    (found,) = [c for c in listed if c[: len(start)] == start]
    return found


def option(command, name):
    (found,) = [a.removeprefix(f"--{name}=") for a in command if a.startswith(f"--{name}=")]
    return found


def training(needed):
    flags = [f"--config={needed['CONFIG']}", f"--workdir={needed['WORKDIR']}"]
    return ["-m", "jaxdet.main", *flags, *MORE]


@pytest.fixture
def really(tmp_path):
    """Runs a script with fakes for what it calls; gives its exit code and the commands run."""

    def start(script, codes, matters, *, arguments=(), **variables):
        for name in ("gcloud", "git", "tar", "xpk", "sbatch", "srun", "scontrol", "train", "sleep"):
            (tmp_path / name).write_text(FAKE)
            (tmp_path / name).chmod(0o755)
        (tmp_path / "codes").write_text("".join(f"{code}\n" for code in codes))
        environment = {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "LOG": str(tmp_path / "log"),
            "CODES": str(tmp_path / "codes"),
            "MATTERS": matters,
            "TMPDIR": str(tmp_path),
            **NEEDED[script],
            **variables,
        }
        command = ["bash", LAUNCH / script, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        return done.returncode, commands((tmp_path / "log").read_text())

    return start


def test_every_script_is_tested_executable_and_strict():
    assert {path.name for path in LAUNCH.iterdir()} == set(NEEDED)
    for name in NEEDED:
        assert os.access(LAUNCH / name, os.X_OK)
        assert "\nset -euo pipefail\n" in (LAUNCH / name).read_text()


def test_shellcheck_finds_nothing():
    beside = pathlib.Path(sys.executable).parent
    shellcheck = shutil.which("shellcheck", path=f"{beside}:{os.environ['PATH']}")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed, see the extra [dev]")
    scripts = sorted(ROOT.glob("launch/*.sh")) + sorted(ROOT.glob("benchmarks/*.sh"))
    done = subprocess.run([shellcheck, *scripts], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", NEEDED)
def test_head_says_what_a_user_needs_to_know(script):
    head = (LAUNCH / script).read_text().split("\nset -euo")[0]
    for part in ("# Needs ", "# Steps lost: ", "DRY_RUN=1", "--config.every.checkpoint"):
        assert part in head
    for name in NEEDED[script]:
        assert f"\n#   {name} " in head and f"{name}=" in head  # explained, and in the example


@pytest.mark.parametrize(
    ("script", "missing"), [(script, name) for script in NEEDED for name in NEEDED[script]]
)
def test_a_missing_variable_is_named(script, missing):
    done = dry_run(script, {k: v for k, v in NEEDED[script].items() if k != missing})
    assert done.returncode != 0 and missing in done.stderr and not done.stdout


@pytest.mark.parametrize("script", ["tpu_vm.sh", "gke_xpk.sh"])
def test_a_workdir_that_would_be_deleted_is_refused(script):
    done = dry_run(script, CLOUD | {"WORKDIR": "runs/here"})
    assert done.returncode == 2 and not done.stdout
    assert done.stderr == "WORKDIR is runs/here, expected a gs:// path\n"


def test_tpu_vm_in_order():
    done = dry_run("tpu_vm.sh", CLOUD | {"SPOT": "1", "NAME": "it", "ACCELERATOR": "v5e-9"}, *MORE)
    assert done.returncode == 0, done.stderr
    archive, existing, create, describe, copy, setup, start, watch, delete = commands(done.stdout)
    place = ["--project=a-project", "--zone=a-zone"]
    queue, vm = (["gcloud", "compute", "tpus", what] for what in ("queued-resources", "tpu-vm"))
    assert archive[:2] == ["git", "archive"] and archive[-1] == "HEAD"
    assert existing == [
        *queue,
        "list",
        "--filter=name~(^|/)it$",
        "--format=value(name)",
        *place,
    ]
    assert create[:6] == [*queue, "create", "it"]
    assert {"--node-id=it", "--accelerator-type=v5e-9", "--spot", *place} <= set(create)
    assert describe == [*queue, "describe", "it", "--format=value(state.state)", *place]
    assert copy == [
        *vm,
        "scp",
        option(archive, "output"),
        "it:jaxdet.tar.gz",
        "--worker=all",
        *place,
    ]
    for command in (setup, start, watch):
        assert command[:7] == [*vm, "ssh", "it", "--worker=all"] and command[-2:] == place
    assert option(setup, "command").endswith("-e 'jaxdet[tpu]'")
    remote = shlex.split(option(start, "command"))
    assert remote[:5] == ["systemctl", "is-active", "-q", "jaxdet", "||"]
    assert remote[remote.index("$HOME/env/bin/python") + 1 :] == training(CLOUD)
    assert "exit $(systemctl show" in option(watch, "command")
    assert delete == [*queue, "delete", "it", "--force", "--quiet", *place]
    assert "--spot" not in dry_run("tpu_vm.sh", CLOUD | {"SPOT": "0"}).stdout


@pytest.mark.parametrize("script", ["tpu_vm.sh", "gke_xpk.sh"])
def test_what_the_script_did_not_create_is_not_deleted(really, script):
    code, listed = really(script, [], "nothing", EXISTING="jaxdet")
    assert code == 2 and not {"create", "delete"} & {word for c in listed for word in c}


@pytest.mark.parametrize(
    ("codes", "created", "last"),
    [
        ([0], 1, 0),
        ([PREEMPTED, GONE, 0], 3, 0),
        ([PREEMPTED, 1], 2, 1),  # an error is not tried again
        ([PREEMPTED] * 9, 3, PREEMPTED),  # nor is anything without end
    ],
)
def test_tpu_vm_asks_for_another_and_deletes_every_one(really, codes, created, last):
    code, listed = really("tpu_vm.sh", codes, "systemctl show", RETRIES="2")
    assert code == last
    lives = [c[4] for c in listed if c[3:4] == ["queued-resources"]]
    lives = [what for what in lives if what not in ("describe", "list")]
    assert lives == ["create", "delete"] * created


def test_tpu_vm_that_cannot_be_set_up_is_deleted_and_not_trained_on(really):
    code, listed = really("tpu_vm.sh", [1], "uv")
    assert code == 1 and listed[-1][4] == "delete"
    assert not [c for c in listed if "jaxdet.main" in " ".join(c)]


def test_tpu_vm_whose_request_failed_is_asked_for_again(really):
    code, listed = really("tpu_vm.sh", [], "nothing", RETRIES="1", STATE="FAILED")
    assert code == GONE and [c[4] for c in listed].count("create") == 2
    assert not [c for c in listed if c[4] == "ssh"]


def test_gke_in_order():
    done = dry_run("gke_xpk.sh", CLOUD | {"NAME": "it", "RETRIES": "3"}, *MORE)
    assert done.returncode == 0, done.stderr
    _, archive, unpack, existing, cluster, workload, watch, delete = commands(done.stdout)
    assert archive[:2] == ["git", "archive"] and unpack[2] == option(archive, "output")
    place = ["--cluster=it", "--project=a-project", "--zone=a-zone"]
    assert existing[:4] == ["gcloud", "container", "clusters", "list"]
    assert "--filter=name=it" in existing and place[1] in existing
    assert cluster[:6] == ["xpk", "cluster", "create", *place] and "--on-demand" in cluster
    assert workload[:6] == ["xpk", "workload", "create", *place]
    assert option(workload, "script-dir") == unpack[-1]
    assert {"--max-restarts=3", f"--restart-on-exit-codes={PREEMPTED}"} <= set(workload)
    remote = shlex.split(option(workload, "command"))
    assert remote[remote.index("exec") :] == ["exec", "python", *training(CLOUD)]
    assert watch == ["xpk", "workload", "list", *place, "--wait-for-job-completion=it"]
    assert delete == ["xpk", "cluster", "delete", *place, "--force"]
    assert "--spot" in only(
        commands(dry_run("gke_xpk.sh", CLOUD | {"SPOT": "1"}).stdout), cluster[:3]
    )


def test_gke_cluster_is_deleted_whatever_happens(really):
    code, listed = really("gke_xpk.sh", [125], "wait-for-job-completion")
    assert code == 125 and listed[-1][:3] == ["xpk", "cluster", "delete"]


def test_slurm_in_order():
    done = dry_run("slurm.sh", HERE | {"NODES": "2", "GPUS": "4", "GRACE": "99"}, *MORE)
    assert done.returncode == 0, done.stderr
    submit, start = commands(done.stdout)
    # A process per GPU: that is what jax.distributed makes of SLURM's variables.
    asked = {"--nodes=2", "--gpus-per-node=4", "--ntasks-per-node=4", "--signal=TERM@99"}
    assert submit[0] == "sbatch" and {*asked, "--requeue", "--open-mode=append"} <= set(submit)
    script = str(LAUNCH / "slurm.sh")
    assert submit[submit.index(script) :] == [script, "--job", *MORE]
    assert start == ["srun", "--kill-on-bad-exit=0", "--cpus-per-task=8", "python", *training(HERE)]


@pytest.mark.parametrize(
    ("code", "restarts", "queued"), [(PREEMPTED, 19, True), (PREEMPTED, 20, False), (0, 0, False)]
)
def test_slurm_job_is_queued_again_only_after_a_preemption(really, code, restarts, queued):
    ours = {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": str(restarts)}
    ended, listed = really("slurm.sh", [code], "srun", arguments=["--job", *MORE], **ours)
    assert ended == code and listed[0][-6:] == training(HERE)
    assert listed[1:] == ([["scontrol", "requeue", "7"]] if queued else [])


def test_multi_gpu_trains_in_the_folder_it_is_called_from(tmp_path):
    """There CONFIG and WORKDIR are, if they are relative."""
    (tmp_path / "python").write_text("#!/usr/bin/env bash\npwd\n")
    (tmp_path / "python").chmod(0o755)
    environment = {**os.environ, **HERE, "PYTHON": str(tmp_path / "python")}
    command, kept = ["bash", LAUNCH / "multi_gpu.sh"], dict(cwd=tmp_path, env=environment)
    done = subprocess.run(command, capture_output=True, text=True, **kept)
    assert done.stdout.splitlines()[1:] == [str(tmp_path)], done.stderr


def test_multi_gpu_prints_the_training():
    done = dry_run("multi_gpu.sh", HERE, *MORE)
    assert done.returncode == 0 and commands(done.stdout) == [["python", *training(HERE)]]


@pytest.mark.parametrize(
    ("codes", "started", "last"),
    [([0], 1, 0), ([PREEMPTED, 0], 2, 0), ([1], 1, 1), ([PREEMPTED] * 9, 3, PREEMPTED)],
)
def test_multi_gpu_starts_again_after_a_preemption(really, codes, started, last):
    code, listed = really(
        "multi_gpu.sh", codes, "train", arguments=MORE, PYTHON="train", RETRIES="2"
    )
    assert code == last and listed == [["train", *training(HERE)]] * started


def test_multi_gpu_hands_sigterm_on_waits_for_the_save_and_stops(tmp_path):
    saver = tmp_path / "saver"
    saver.write_text(
        "#!/usr/bin/env bash\ntrap 'sleep 0.3; echo saved; exit 75' TERM\necho started\n"
        "while true; do sleep 0.05; done\n"
    )
    saver.chmod(0o755)
    environment = {"PATH": os.environ["PATH"], "PYTHON": str(saver), **HERE}
    with subprocess.Popen(
        ["bash", LAUNCH / "multi_gpu.sh"], env=environment, stdout=subprocess.PIPE, text=True
    ) as script:
        while script.stdout.readline() != "started\n":
            pass
        script.send_signal(signal.SIGTERM)
        assert script.stdout.read() == "saved\n"  # once: it was not started again
    assert script.returncode == PREEMPTED
