"""Logs the metrics and images of a run to `metrics.jsonl` and TensorBoard, in the workdir."""

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
    """A file of JSON records, one per line, each with a step.

    A line cut short by a crash is dropped; so are records after the step `until`, if given. An
    object store cannot append: there every record rewrites the file, hundreds of kilobytes late in
    training. Without `write` the file is left unchanged.
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
    """Writes the logs of a workdir; first removes what a resumed run will write again.

    TensorBoard's files cannot be truncated; instead, a later file that marks a restart at a step
    makes TensorBoard discard everything from there on. Events are written immediately, not by
    SummaryWriter's thread, which loses pending events when the program is killed and hangs when the
    disk is full. Without `write` records are only kept in memory: of many processes one writes.
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
        """Whether there is a record of this kind for `step`."""
        return any(r["step"] == step and r["kind"] == kind for r in self._lines.records)

    def scalars(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """Writes a line of metrics.jsonl, and a TensorBoard scalar under `kind/` for each value."""
        values = {name: float(value) for name, value in values.items()}
        tagged = [Summary.Value(tag=f"{kind}/{n}", simple_value=v) for n, v in values.items()]
        self._add(step, summary=Summary(value=tagged))
        if kind == "eval":  # once its line is written, a resumed run does not evaluate again
            self.flush()
        self._lines.append({"step": step, "kind": kind, **values})

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        """Writes an image, uint8 RGB [H, W, 3], to TensorBoard."""
        self._add(step, summary=summary.image(name, image, dataformats="HWC"))

    def flush(self) -> None:
        """Sends pending events to an object store; called before a checkpoint or an eval line.

        It accepts a TensorBoard file only whole, with all its images: too much for every line.
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
