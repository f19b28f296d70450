"""Training runs as their workdirs record them."""

import dataclasses
import datetime
import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from etils import epath

from jaxdet import data
from jaxdet.data import builder
from jaxdet.training import old_recipes, origin, workdir
from jaxdet.training.curves import Curves, read_curves


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A training run, as recorded in its workdir."""

    name: str  # its folder, relative to the one that is listed
    folder: epath.Path
    config: Mapping[str, Any]
    curves: Curves
    date: datetime.datetime

    @property
    def evaluated_on(self) -> str:
        """The name of the evaluation set."""
        return str(self.config["data"].get("eval", "-"))

    @property
    def best(self) -> tuple[str, float, int] | None:
        """Name, value and step of the best evaluation, by the first number that was reported."""
        if evaluations := self.curves.get("eval"):
            name, (steps, values) = next(iter(evaluations.items()))
            index = int(np.argmax(values))
            return name, values[index], steps[index]
        return None

    @property
    def steps(self) -> int:
        """The last step in the log."""
        losses = self.curves.get("train", {}).get("loss", ([0], []))
        return losses[0][-1]


def find(root: Path) -> list[Experiment]:
    """The runs in and below a folder, oldest first; ValueError if there are none."""
    root = epath.Path(root)
    runs = [_read(folder, root, config) for folder, config in _workdirs(root)]
    if not runs:
        raise ValueError(f"no run in {root}: expected folders with a {workdir.CONFIG}")
    return sorted(runs, key=lambda run: (run.date, run.name))


def _workdirs(root: epath.Path) -> Iterator[tuple[epath.Path, dict[str, Any]]]:
    if config := _config(root / workdir.CONFIG):
        yield root, config  # without its subfolders: checkpoints are many files
    elif root.is_dir():
        for folder in sorted(path for path in root.iterdir() if path.is_dir()):
            yield from _workdirs(folder)


def _config(file: epath.Path) -> dict[str, Any] | None:
    """The config of a run; None if there is no file, or if it is another program's."""
    if not file.exists():
        return None
    try:
        config = json.loads(file.read_text())
    except ValueError as error:
        config = error
    if isinstance(config, dict) and "data" in config:
        return old_recipes.translated(config)
    logging.warning("%s is left out: it is not the config of a run", file)
    return None


def _read(folder: epath.Path, root: epath.Path, config: dict[str, Any]) -> Experiment:
    name = folder.relative_to(root).as_posix() if folder != root else folder.resolve().name
    return Experiment(name, folder, config, read_curves(folder), origin.began(folder))


def steps_per_epoch(config: Mapping[str, Any]) -> float | None:
    """Training images / batch size; None if the dataset is not prepared on this machine."""
    images = _images(config["data"]["train"], config["data"]["dir"])
    return images and images / config["data"]["batch_size"]


@functools.cache
def _images(names: str, folder: str) -> int | None:
    where = Path(folder).expanduser()
    if not all(builder.is_prepared(where, name.strip()) for name in names.split("+")):
        return None  # `data.open` would download it
    return len(data.open(names, dir=where))


def training_seconds(run: Experiment) -> float | None:
    """The time of all steps in the log in seconds, from their images per second."""
    train = run.curves.get("train", {})
    if "images_per_second" not in train:
        return None
    steps, rates = train["images_per_second"]
    images = np.diff(steps, prepend=0) * run.config["data"]["batch_size"]
    return float((images / np.array(rates)).sum())
