"""Where the numbers and images of a run go besides `metrics.jsonl`: `config.log` names them.

A tracker is started once the run is known to be able to start, with its folder and recipe; a run
that is resumed goes on in the same one. To add another, write a class with the methods of `Tracker`
and add it to `TRACKERS`.
"""

import csv
import importlib.util
import os
import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np
from etils import epath
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from jaxdet.training import workdir

TENSORBOARD, CSV = "tensorboard", "metrics.csv"
PROJECT = "jaxdet"  # of Weights & Biases, and the experiment of MLflow


class Tracker(Protocol):
    """What a run writes to; `__init__` takes its folder, its recipe as plain JSON values, and the
    step that it resumes at (0: a new run), after which nothing may remain from before."""

    def __init__(self, folder: epath.Path, config: Mapping[str, Any], *, resumed_at: int): ...

    def scalars(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """Takes numbers; `kind` is "train" or "eval"."""

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        """Takes an image, uint8 RGB [H, W, 3]."""

    def flush(self) -> None:
        """Called before a checkpoint: all that was taken must be safe when it returns."""

    def close(self) -> None:
        """Flushes, and ends what was started."""


class TensorBoard:
    """Event files.

    They cannot be truncated; instead, a later file that marks a restart at a step makes TensorBoard
    discard everything from there on. Events are written immediately, not by SummaryWriter's thread,
    which loses pending events when the program is killed and hangs when the disk is full.
    """

    def __init__(self, folder: epath.Path, config: Mapping[str, Any], *, resumed_at: int):
        del config
        self._flushes = workdir.is_local(folder)
        (folder / TENSORBOARD).mkdir(parents=True, exist_ok=True)
        self._events = EventsWriter(str(folder / TENSORBOARD / "events"))
        self._add(resumed_at + 1, session_log=SessionLog(status=SessionLog.START))

    def scalars(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        tagged = [Summary.Value(tag=f"{kind}/{n}", simple_value=v) for n, v in values.items()]
        self._add(step, summary=Summary(value=tagged))

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        self._add(step, summary=summary.image(name, image, dataformats="HWC"))

    def flush(self) -> None:
        """An object store accepts a file only whole, with all its images: too much for a line."""
        self._events.flush()

    def close(self) -> None:
        self._events.close()

    def _add(self, step: int, **content: Any) -> None:
        self._events.write_event(Event(wall_time=time.time(), step=step, **content))
        if self._flushes:
            self._events.flush()


class Csv:
    """`metrics.csv`, with a row for each number: step, kind, name, value."""

    HEADER = ("step", "kind", "name", "value")

    def __init__(self, folder: epath.Path, config: Mapping[str, Any], *, resumed_at: int):
        del config
        self._path = folder / CSV
        old = self._path.read_text().splitlines() if self._path.exists() else []
        rows = [row for row in csv.reader(old[1:]) if len(row) == 4 and int(row[0]) <= resumed_at]
        self._lines = [",".join(row) for row in (self.HEADER, *rows)]
        self.flush()

    def scalars(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        lines = [f"{step},{kind},{name},{value!r}" for name, value in values.items()]
        self._lines += lines
        if workdir.is_local(self._path):
            with self._path.open("a") as file:
                file.write("".join(f"{line}\n" for line in lines))

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        """A table has no images."""

    def flush(self) -> None:
        workdir.write_text(self._path, "".join(f"{line}\n" for line in self._lines))

    def close(self) -> None:
        self.flush()


class WeightsAndBiases:
    """A run of Weights & Biases; WANDB_MODE=offline keeps it in the folder, WANDB_PROJECT names
    another project. It ignores the steps that a run repeats after a crash."""

    def __init__(self, folder: epath.Path, config: Mapping[str, Any], *, resumed_at: int):
        del resumed_at
        import wandb

        self._image = wandb.Image
        place = {"dir": str(folder)} if workdir.is_local(folder) else {}
        how = dict(id=_kept_id(folder / "wandb_run"), resume="allow", name=folder.name, **place)
        how.update(project=wandb.setup().settings.project or PROJECT, config=dict(config))
        try:
            self._run = wandb.init(**how)
        except wandb.errors.Error as error:
            raise ValueError(
                f"config.log: Weights & Biases cannot start: {error}; WANDB_MODE=offline needs "
                "neither account nor network"
            ) from error

    def scalars(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        self._run.log({f"{kind}/{name}": value for name, value in values.items()}, step=step)

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        self._run.log({name: self._image(image)}, step=step)

    def flush(self) -> None:
        """Its own process writes what it is given; there is nothing to wait for."""

    def close(self) -> None:
        self._run.finish()


class MLflow:
    """A run of MLflow, in MLFLOW_TRACKING_URI or else in the folder; after a crash the repeated
    steps are in it twice, with the same values."""

    def __init__(self, folder: epath.Path, config: Mapping[str, Any], *, resumed_at: int):
        del resumed_at
        import mlflow

        if not mlflow.is_tracking_uri_set():
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # a server has a database
            mlflow.set_tracking_uri(f"{folder / 'mlflow'}")
        try:
            self._client = mlflow.MlflowClient()
            self._run = self._run_in(folder, config)
        except mlflow.exceptions.MlflowException as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"config.log: MLflow cannot start: {reason}") from error

    def _run_in(self, folder: epath.Path, config: Mapping[str, Any]) -> str:
        """The id of the run of this folder, which is started if there is none."""
        path = folder / "mlflow_run"
        if path.exists():
            run = path.read_text()
            self._client.update_run(run, status="RUNNING")
            return run
        experiment = self._client.get_experiment_by_name(PROJECT)
        number = experiment.experiment_id if experiment else self._client.create_experiment(PROJECT)
        run = self._client.create_run(number, run_name=folder.name).info.run_id
        self._client.log_dict(run, dict(config), workdir.CONFIG)
        for key, value in workdir.flat(config).items():
            self._client.log_param(run, key, str(value)[:500])
        workdir.write_text(path, run)
        return run

    def scalars(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._client.log_metric(self._run, f"{kind}/{name}", value, step=step)

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        self._client.log_image(self._run, image, key=name, step=step)

    def flush(self) -> None:
        """Every call has returned only when it was done."""

    def close(self) -> None:
        self._client.set_terminated(self._run)


TRACKERS: dict[str, type[Tracker]] = {
    "tensorboard": TensorBoard,
    "csv": Csv,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
}
DEFAULT = ("tensorboard",)
_EXTRAS = ("wandb", "mlflow")  # both the package and the extra have the tracker's name


def check(names: Iterable[str]) -> None:
    """Raises ImportError, saying how to install it, if the package of a tracker is missing."""
    for name in names:
        if name in _EXTRAS and importlib.util.find_spec(name) is None:
            raise ImportError(
                f"config.log names {name!r}, whose package is not installed: "
                f"pip install 'jaxdet[{name}]'"
            )


def _kept_id(path: epath.Path) -> str:
    """A random name, the same whenever it is asked for in this folder."""
    if not path.exists():
        workdir.write_text(path, uuid.uuid4().hex[:8])
    return path.read_text()
