"""Where numbers and pictures of a run go: `metrics.jsonl` and TensorBoard, under the workdir."""

import json
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from jaxdet.training import workdir

METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"


class Lines:
    """A file of JSON records with a step, one a line; what a crash cut short is dropped.

    Records after the step `until` are dropped too, where that is given. An object store cannot
    append: there every record writes the file anew, some hundred kilobytes late in a training.
    Without `write` the file stays as it is.
    """

    def __init__(self, path: epath.Path, *, until: int | None = None, write: bool = True):
        self._path, self._write = path, write
        self.records: list[dict[str, Any]] = []
        old = path.read_text() if path.exists() else ""
        for line in old.splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                break
            if until is None or record["step"] <= until:
                self.records.append(record)
        if write and self._text() != old:
            workdir.write_text(path, self._text())

    def append(self, record: Mapping[str, Any]) -> None:
        """Adds a record; once this returns, a crash of the program does not lose it."""
        self.records.append(dict(record))
        if not self._write:
            return
        if not workdir.is_local(self._path):
            workdir.write_text(self._path, self._text())
            return
        with self._path.open("a") as file:
            file.write(json.dumps(record) + "\n")

    def _text(self) -> str:
        return "".join(json.dumps(record) + "\n" for record in self.records)


class Log:
    """Adds to the logs of a workdir; what a resumed run will write again is cut off first.

    TensorBoard's files cannot be cut: it forgets what follows a step when a later file says that
    the run began anew there. They are written here and now, not by SummaryWriter's thread, which
    loses what is under way when the program is killed, and waits for ever when the disk is full.
    Without `write` it only remembers: of many processes one writes.
    """

    def __init__(self, folder: epath.Path, *, resumed_at: int, write: bool = True):
        self._lines = Lines(folder / METRICS, until=resumed_at, write=write)
        self._flushes = workdir.is_local(folder)
        self._events: EventsWriter | None = None
        if not write:
            return
        (folder / TENSORBOARD).mkdir(parents=True, exist_ok=True)
        self._events = EventsWriter(str(folder / TENSORBOARD / "events"))
        self._add(resumed_at + 1, session_log=SessionLog(status=SessionLog.START))

    def has(self, step: int, kind: str) -> bool:
        """Whether there is a line of this kind for `step`."""
        return any(r["step"] == step and r["kind"] == kind for r in self._lines.records)

    def scalars(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """One line of metrics.jsonl, and a TensorBoard scalar a value under `kind/`."""
        values = {name: float(value) for name, value in values.items()}
        tagged = [Summary.Value(tag=f"{kind}/{n}", simple_value=v) for n, v in values.items()]
        self._add(step, summary=Summary(value=tagged))
        if kind == "eval":  # its checkpoint came before: a run resumed there makes it no more
            self.flush()
        self._lines.append({"step": step, "kind": kind, **values})

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        """A picture, uint8 RGB [H, W, 3], to TensorBoard."""
        self._add(step, summary=summary.image(name, image, dataformats="HWC"))

    def flush(self) -> None:
        """Writes out what an object store has not got yet; before a checkpoint or an eval's line.

        It takes a TensorBoard file only whole, with all its pictures: too much for every line.
        """
        if self._events:
            self._events.flush()

    def close(self) -> None:
        """Flushes and closes the files."""
        if self._events:
            self._events.close()

    def _add(self, step: int, **content: Any) -> None:
        if not self._events:
            return
        self._events.write_event(Event(wall_time=time.time(), step=step, **content))
        if self._flushes:
            self._events.flush()
