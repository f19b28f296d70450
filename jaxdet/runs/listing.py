"""The table of all runs, and the comparison of two."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath

from jaxdet import build
from jaxdet.runs.experiments import Experiment, find, steps_per_epoch, training_seconds
from jaxdet.training import workdir

COLUMNS = (
    *("id", "date", "name", "model", "trained on", "purpose", "epochs", "last loss"),
    *("evaluated on", "metric", "best, %", "at", "rank", "time", "notes"),
)
NOTES = ("notes.txt", "notes.md")
_BARS, _BAR_COUNT = "▁▂▃▄▅▆▇█", 24


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
