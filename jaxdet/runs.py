"""List the training runs under a folder in one table.

    python -m jaxdet.runs runs                      # markdown
    python -m jaxdet.runs runs --format=csv
    python -m jaxdet.runs runs --compare 2 5        # or two names

A run is a workdir: a folder with `config.json`. Runs are numbered by the date they began. The
purpose is `config.purpose`, the notes are the first line of `notes.txt` or `notes.md` in the
workdir. The time is that of the training steps, without evaluation. "best, %" is the best value of
the first number that the metric reports; `rank` compares it with the runs of the same evaluation
set and metric, which stand together, since numbers of different sets say nothing about each other.
A comparison shows where the configs differ, and the curves of both runs on one scale.
"""

import argparse
import csv
import dataclasses
import datetime
import functools
import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from etils import epath

from jaxdet import build, cli, data
from jaxdet.data import builder
from jaxdet.training import old_recipes, origin, workdir
from jaxdet.training.curves import Curves, read_curves

COLUMNS = (
    *("id", "date", "name", "model", "trained on", "purpose", "epochs", "last loss"),
    *("evaluated on", "metric", "best, %", "at", "rank", "time", "notes"),
)
NOTES = ("notes.txt", "notes.md")
_BARS, _BAR_COUNT = "▁▂▃▄▅▆▇█", 24


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


def row(number: int, run: Experiment, *, rank: str = "-") -> tuple[str, ...]:
    """The row of a run in the table: a cell for each of COLUMNS."""
    per_epoch = steps_per_epoch(run.config)
    losses = run.curves.get("train", {}).get("loss")
    metric, best, at = "-", "-", "-"
    if run.best:
        metric, value, step = run.best
        best, at = f"{100 * value:.1f}", _span(step, per_epoch)
    return (
        str(number),
        run.date.strftime("%Y-%m-%d %H:%M"),
        run.name,
        _model(run.config),
        str(run.config["data"]["train"]),
        str(run.config.get("purpose") or ""),
        _span(run.steps, per_epoch),
        f"{losses[1][-1]:.3f}" if losses else "-",
        *(run.evaluated_on, metric, best, at, rank),
        _duration(training_seconds(run)),
        _notes(run.folder),
    )


def _model(config: Mapping[str, Any]) -> str:
    """The family and its backbone, "-" if the config has none."""
    model = config.get("model", {})
    parts = (model[part] for part in ("detector", "backbone") if part in model)
    return " ".join(" + ".join(build.names_of(block)) for block in parts) or "-"


def ranks(runs: Sequence[Experiment]) -> list[str]:
    """The rank of each run among those with its evaluation set and metric: "1 of 3"."""
    peers: dict[tuple[str, str], list[float]] = {}
    for run in runs:
        if run.best:
            peers.setdefault((run.evaluated_on, run.best[0]), []).append(run.best[1])
    ranked = []
    for run in runs:
        values = peers[run.evaluated_on, run.best[0]] if run.best else []
        better = sum(value > run.best[1] for value in values)
        ranked.append(f"{better + 1} of {len(values)}" if values else "-")
    return ranked


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


def _span(steps: int, per_epoch: float | None) -> str:
    return f"{steps:,} steps" if per_epoch is None else f"{steps / per_epoch:.1f}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


def _notes(folder: epath.Path) -> str:
    for path in (folder / name for name in NOTES):
        if path.exists():
            return next(iter(path.read_text().splitlines()), "").lstrip("# ")
    return ""


def compare(numbers: Sequence[int], a: Experiment, b: Experiment) -> list[tuple[str, ...]]:
    """Rows (name, of a, of b): the results, the curves, and the config keys that differ."""
    cells = [
        dict(zip(COLUMNS, row(n, run), strict=True)) for n, run in zip(numbers, (a, b), strict=True)
    ]
    shown = [name for name in COLUMNS if name not in ("name", "rank")]
    rows = [(name, *(cell[name] for cell in cells)) for name in shown]
    for kind, name in _shown_curves(a, b):
        rows.append(
            (f"{name} ({kind})", *_sparklines([r.curves.get(kind, {}).get(name) for r in (a, b)]))
        )
    old, new = workdir.flat(a.config), workdir.flat(b.config)
    for key in workdir.differences(a.config, b.config):
        rows.append((f"config.{key}", *(str(each.get(key, "(absent)")) for each in (old, new))))
    return rows


def _shown_curves(*runs: Experiment) -> list[tuple[str, str]]:
    metrics = [("eval", next(iter(run.curves["eval"]))) for run in runs if "eval" in run.curves]
    return [("train", "loss"), *dict.fromkeys(metrics)]


def _sparklines(series: Sequence[tuple[list[int], list[float]] | None]) -> list[str]:
    """Sparklines on one scale of steps and values, each between its first and last value."""
    known = [each for each in series if each]
    if not known:
        return ["-"] * len(series)
    last = max(steps[-1] for steps, _ in known)
    values = np.concatenate([values for _, values in known])
    low, high = float(values.min()), float(values.max())
    return [_sparkline(each, last, low, high) if each else "-" for each in series]


def _sparkline(curve: tuple[list[int], list[float]], last: int, low: float, high: float) -> str:
    steps, values = curve
    places = np.linspace(min(steps[0], last), last, _BAR_COUNT)
    here = np.interp(places[places <= steps[-1]], steps, values)
    heights = (here - low) / ((high - low) or 1.0) * (len(_BARS) - 1)
    bars = "".join(_BARS[round(height)] for height in heights.tolist())
    return f"{values[0]:.4g} {bars} {values[-1]:.4g}"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table whose columns also line up in a terminal."""
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in each] for each in rows]
    widths = [max(3, *map(len, column)) for column in zip(header, *cells, strict=True)]
    line = lambda each: "| " + " | ".join(map(str.ljust, each, widths)) + " |"
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([line(header), rule, *map(line, cells)])


def comma_separated(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The table as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue().rstrip("\n")


FORMATS = {"markdown": markdown, "csv": comma_separated}


def table(root: Path, chosen: Sequence[str] | None) -> tuple[Sequence[str], list[tuple[str, ...]]]:
    """Header and rows of all runs, or of a comparison of two, chosen by number or name."""
    runs = find(root)
    if not chosen:
        sets = list(dict.fromkeys(run.evaluated_on for run in runs))
        rows = list(zip(enumerate(runs, start=1), ranks(runs), strict=True))
        rows.sort(key=lambda each: sets.index(each[0][1].evaluated_on))
        return COLUMNS, [row(number, run, rank=rank) for (number, run), rank in rows]
    numbers = [_number(name, runs) for name in chosen]
    a, b = (runs[number - 1] for number in numbers)
    return ("what", a.name, b.name), compare(numbers, a, b)


def _number(chosen: str, runs: Sequence[Experiment]) -> int:
    names = [run.name for run in runs]
    if chosen in names:
        return names.index(chosen) + 1
    if chosen.isdecimal() and 1 <= int(chosen) <= len(runs):
        return int(chosen)
    raise ValueError(f"no run {chosen!r}; expected 1 to {len(runs)}, or one of {', '.join(names)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table."""
    return cli.call("runs", __doc__, _add_arguments, _runs, argv)


def _runs(args: argparse.Namespace) -> None:
    print(FORMATS[args.format](*table(args.folder, args.compare)))


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=epath.Path, help="folder that holds the workdirs")
    parser.add_argument(
        "--compare", nargs=2, metavar=("A", "B"), help="compare these two, ids or names"
    )
    parser.add_argument("--format", choices=FORMATS, default="markdown")


if __name__ == "__main__":
    sys.exit(main())
