"""Where numbers and pictures of a run go: `metrics.jsonl` and TensorBoard, under the workdir."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tensorboardX import SummaryWriter

METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"


class Log:
    """Appends to the logs of a workdir; what a resumed run will write again is cut off first."""

    def __init__(self, workdir: Path, *, resumed_at: int):
        self._path = workdir / METRICS
        _cut(self._path, resumed_at)
        purge = resumed_at + 1 if resumed_at else None
        self._tensorboard = SummaryWriter(str(workdir / TENSORBOARD), purge_step=purge)

    def scalars(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """One line of metrics.jsonl, and a TensorBoard scalar a value under `kind/`."""
        values = {name: float(value) for name, value in values.items()}
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, "kind": kind, **values}) + "\n")
        for name, value in values.items():
            self._tensorboard.add_scalar(f"{kind}/{name}", value, step)
        self._tensorboard.flush()

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        """A picture, uint8 RGB [H, W, 3], to TensorBoard."""
        self._tensorboard.add_image(name, image, step, dataformats="HWC")
        self._tensorboard.flush()

    def close(self) -> None:
        """Flushes and closes the files."""
        self._tensorboard.close()


def _cut(path: Path, step: int) -> None:
    """Drops the lines after `step`, and a last line that was cut short by a crash."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except json.JSONDecodeError:
            break
    path.write_text("".join(line + "\n" for line in kept))
