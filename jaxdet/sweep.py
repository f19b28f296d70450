"""Train all runs of a study that are not finished: its baseline, its changes, their seeds.

    jaxdet sweep --config=study/shapes --workdir=runs/study/shapes
    jaxdet sweep --config=study/shapes --workdir=runs/study/shapes --only=fpn,mish

This is `python -m jaxdet.sweep`. A run is an ordinary training in WORKDIR/CHANGE/SEED, which says
what it prints to sweep.log there; stopped or killed, the same command goes on where it was.
--config.KEY=VALUE is for all runs, but a change's own keys win. What only changes the evaluation
starts from the baseline's checkpoint. Exit status 1 if a run failed, 75 if told to stop.
"""

import dataclasses
import json
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from absl import flags
from etils import epath
from tqdm import tqdm

from jaxdet import cli, studies
from jaxdet.parser import INTERRUPTED
from jaxdet.studies import Study, Training
from jaxdet.training import logs, progress, workdir

JOBS = flags.DEFINE_integer("jobs", 1, "trainings at the same time", lower_bound=1)
SHARD = flags.DEFINE_string("shard", "1/1", "I/N: the I-th of N parts of the study, from 1")
ONLY = flags.DEFINE_list("only", [], "names of changes, with commas, or baseline (default all)")

LOG = "sweep.log"
_NOT_COPIED = (
    logs.METRICS,
    logs.TENSORBOARD,
    workdir.LOCK,
    LOG,
    studies.SPENT,
    "best",
    "origin.json",
)
_POLL = 0.2  # seconds


def main() -> int:
    """Runs what is unfinished, and says how many runs are finished before and after."""
    folder = epath.Path(cli.WORKDIR.value).expanduser()
    if not workdir.is_local(folder):
        raise ValueError(f"--workdir is {folder}, expected a folder on this machine")
    study = studies.read(recipe_given())
    studies.record(folder, study)
    steps = cli.CONFIG.value.schedule.steps
    runs = part(list(study.trainings(ONLY.value)), SHARD.value)
    left = [run for run in runs if not studies.finished(folder / run.name)]
    print(f"{len(runs) - len(left)} of {len(runs)} runs are finished, of {steps:,} steps each")
    sweep = Sweep(study, folder, JOBS.value)
    with progress.bar(total=len(runs), initial=len(runs) - len(left), unit="run") as bar:
        sweep.run(left, bar)
    done = sum(studies.finished(folder / run.name) for run in runs)
    print(f"{done} of {len(runs)} runs are finished; jaxdet runs {folder} --study shows them")
    if sweep.stopped_by == signal.SIGINT:
        return INTERRUPTED
    return os.EX_TEMPFAIL if sweep.stopped_by else int(sweep.failed > 0)


def recipe_given() -> str:
    """The value of --config, the name or file of a study."""
    values = [each.partition("=")[2] for each in sys.argv if each.lstrip("-").startswith("config=")]
    return values[-1]


def overrides(change: studies.Change | None) -> list[str]:
    """The flags --config.KEY of this command, for a run: a change's own keys win over them."""
    own = tuple(change.keys) if change else ()
    given = [each for each in sys.argv[1:] if each.lstrip("-").startswith("config.")]
    keys = [each.lstrip("-").removeprefix("config.").partition("=")[0] for each in given]
    wins = lambda key: any(key == mine or key.startswith(f"{mine}.") for mine in own)
    return [each for each, key in zip(given, keys, strict=True) if not wins(key)]


def part(runs: Sequence[Training], shard: str) -> list[Training]:
    """The runs of a shard, "2/3", with every evaluation where the weights are trained.

    ValueError for another form.
    """
    number, _, count = shard.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise ValueError(f"--shard is {shard!r}, expected I/N with I from 1 to N, such as 1/2")
    trained = list(dict.fromkeys(run.weights_of for run in runs))
    mine = trained[int(number) - 1 :: int(count)]
    return [run for run in runs if run.weights_of in mine]


def first_ready(queue: Sequence[Training], running: Sequence[Training]) -> Training | None:
    """The first run that waits for none of those `running`: an evaluation does, for its weights."""
    return next((run for run in queue if run.weights_of not in running), None)


def reuse(baseline: epath.Path, folder: epath.Path) -> None:
    """Copies a finished run without its evaluation, which is then all that is left to do."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(draft, ignore_errors=True)  # of a copy that was interrupted
    shutil.copytree(baseline, draft, ignore=shutil.ignore_patterns(*_NOT_COPIED))
    records = logs.Lines(baseline / logs.METRICS, write=False).records
    lines = [json.dumps(each) for each in records if each["kind"] != "eval"]
    workdir.write_text(draft / logs.METRICS, "".join(f"{line}\n" for line in lines))
    draft.rename(folder)


@dataclasses.dataclass(frozen=True)
class Child:
    """A training that is running, as a program of its own."""

    run: Training
    process: subprocess.Popen
    began: float

    def stop(self) -> None:
        """Tells it to save and end; Popen's own way would take its exit status."""
        os.kill(self.process.pid, signal.SIGTERM)

    def ended(self) -> resource.struct_rusage | None:
        """What it has used if it has ended, and `process.returncode` is then set; else None."""
        pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
        if not pid:
            return None
        self.process.returncode = os.waitstatus_to_exitcode(status)
        return usage


class Sweep:
    """Runs trainings as programs of their own, `jobs` at a time."""

    def __init__(self, study: Study, folder: epath.Path, jobs: int):
        self._study, self._folder, self._jobs = study, folder, jobs
        self._running: list[Child] = []
        self.failed = 0
        self.stopped_by: int | None = None  # a signal

    def run(self, left: Sequence[Training], bar: tqdm) -> None:
        """Runs all that is `left`, in order, until told to stop; a failure is said in one line."""
        queue = list(left)
        before = {s: signal.signal(s, self._stop) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            while self._running or (queue and not self.stopped_by):
                while not self.stopped_by and len(self._running) < self._jobs:
                    run = first_ready(queue, [child.run for child in self._running])
                    if run is None:
                        break
                    queue.remove(run)
                    self._running.append(self._start(run))
                    bar.set_postfix_str(", ".join(child.run.name for child in self._running))
                time.sleep(_POLL)
                for child in list(self._running):
                    if usage := child.ended():
                        self._running.remove(child)
                        self._end(child, usage.ru_utime + usage.ru_stime, bar)
        finally:
            for child in self._running:
                child.stop()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, frame: object) -> None:
        if not self.stopped_by:  # a second signal, while they save, changes nothing
            self.stopped_by = number
            for child in self._running:
                child.stop()

    def _start(self, run: Training) -> Child:
        folder, change = self._folder / run.name, self._study.changes.get(run.change)
        baseline = self._folder / run.weights_of.name
        if not run.trains and not folder.exists() and studies.finished(baseline):
            reuse(baseline, folder)
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "jaxdet.main"]
        command += [f"--config={self._study.file}:{run.change}", f"--workdir={folder}"]
        command += [*overrides(change), f"--config.seed={run.seed}"]
        with (folder / LOG).open("ab") as log:
            log.write(f"{shlex.join(command)}\n".encode())
            log.flush()
            streams = dict(stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            # In a session of its own, so that Ctrl-C reaches it through `_stop` alone.
            process = subprocess.Popen(command, **streams, start_new_session=True)
        return Child(run, process, time.monotonic())

    def _end(self, child: Child, processor: float, bar: tqdm) -> None:
        folder, code = self._folder / child.run.name, child.process.returncode
        studies.add_spent(folder, processor=processor, wall=time.monotonic() - child.began)
        if code == 0:
            bar.update()
        elif not self.stopped_by:
            self.failed += 1
            last = (folder / LOG).read_bytes().decode(errors="replace").rstrip().splitlines()[-1]
            tqdm.write(f"{child.run.name} failed ({code}): {last}; see {folder / LOG}")


if __name__ == "__main__":
    cli.run(main, required=["config", "workdir"])
