"""Logs the metrics of a run to `metrics.jsonl` in the workdir, and to its trackers."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from jaxdet.training import trackers, workdir

METRICS = "metrics.jsonl"
TENSORBOARD = trackers.TENSORBOARD


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

    `names` are the `trackers` that get everything too, with the recipe. Without `write` records are
    only kept in memory: of many processes one writes.
    """

    def __init__(
        self,
        folder: epath.Path,
        *,
        resumed_at: int,
        write: bool = True,
        names: Sequence[str] = trackers.DEFAULT,
        config: Mapping[str, Any] | None = None,
    ):
        self._lines = Lines(folder / METRICS, until=resumed_at, write=write)
        self._trackers = [
            trackers.TRACKERS[name](folder, config or {}, resumed_at=resumed_at)
            for name in (names if write else ())
        ]

    @property
    def records(self) -> list[dict[str, Any]]:
        """The records of metrics.jsonl, in order."""
        return self._lines.records

    def has(self, step: int, kind: str) -> bool:
        """Whether there is a record of this kind for `step`."""
        return any(r["step"] == step and r["kind"] == kind for r in self.records)

    def scalars(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """Writes a line of metrics.jsonl, and passes the values to the trackers."""
        values = {name: float(value) for name, value in values.items()}
        for tracker in self._trackers:
            tracker.scalars(step, kind, values)
        if kind == "eval":  # once its line is written, a resumed run does not evaluate again
            self.flush()
        self._lines.append({"step": step, "kind": kind, **values})

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        """Passes an image, uint8 RGB [H, W, 3], to the trackers."""
        for tracker in self._trackers:
            tracker.image(step, name, image)

    def flush(self) -> None:
        """Makes what was logged safe; called before a checkpoint or an eval line."""
        for tracker in self._trackers:
            tracker.flush()

    def close(self) -> None:
        """Flushes and closes the files."""
        for tracker in self._trackers:
            tracker.close()
