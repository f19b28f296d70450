"""The table of a study: what each change brings, and how sure that is."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from etils import epath
from tqdm import tqdm

from jaxdet import studies
from jaxdet.runs import costs, experiments, statistics
from jaxdet.runs.experiments import Experiment
from jaxdet.runs.statistics import Difference, Spread, Values

NOTHING = "–"
HEADER = ("change", "purpose", "parameters", "GFLOPs", "ms")  # then two numbers of the metric
HEADER_REST = ("seeds", "difference", "published", "minutes", "processor", "verdict")


@dataclasses.dataclass(frozen=True)
class Row:
    """The runs of a change, or of the baseline, which has no difference."""

    name: str
    folder: epath.Path
    purpose: str
    published: str
    trains: bool
    runs: dict[int, Experiment]  # those that are evaluated, by seed
    difference: Difference | None = None

    def values(self, name: str) -> Values:
        """A number of the metric at the last evaluation, by seed, in percent."""
        curves = {seed: run.curves["eval"] for seed, run in self.runs.items()}
        return {s: 100 * each[name][1][-1] for s, each in curves.items() if name in each}

    @property
    def minutes(self) -> float | None:
        """The time of the training steps of a run, the mean."""
        return _mean([experiments.training_seconds(run) for run in self.runs.values()])

    @property
    def processor_minutes(self) -> float | None:
        """The processor time of a run, with compilation and evaluation, the mean."""
        spent = [studies.spent(run.folder).get("processor") for run in self.runs.values()]
        return _mean(spent) if self.trains else None


@dataclasses.dataclass(frozen=True)
class Table:
    """A study's results: the baseline first, then the changes, the greatest gain first."""

    recipe: str
    metric: tuple[str, ...]  # the two numbers that are shown, the first of which decides
    baseline: Row
    changes: list[Row]
    spread: Spread | None  # None where there are too few changes to pool


def gather(folder: epath.Path, *, measure: bool = False) -> Table:
    """The results in the folder of a sweep; changes without an evaluated run are left out.

    `measure` also measures the cost of each change that it is not known of. ValueError if the
    folder holds no study, or no evaluated run of the baseline.
    """
    known = studies.recorded(folder)
    blank = dict(purpose="", published="", trains=True)
    rows = {}
    for name, about in {studies.BASELINE: blank, **known["changes"]}.items():
        runs = _evaluated(folder / name)
        if runs:
            rows[name] = Row(name, folder / name, **about, runs=runs)
    if studies.BASELINE not in rows:
        raise ValueError(f"{folder}: no run of the baseline is evaluated yet")
    if measure:
        lacking = [row for row in rows.values() if not costs.read(row.folder)]
        for row in tqdm(lacking, desc="measuring", unit="change"):
            costs.measure(row.folder, next(iter(row.runs.values())))
    baseline = rows.pop(studies.BASELINE)
    metric = _metric(baseline)
    spread = _spread([baseline, *rows.values()], metric[0])
    compared = [_compared(row, baseline, metric[0], spread) for row in rows.values()]
    compared.sort(key=lambda row: -row.difference.mean if row.difference else np.inf)
    return Table(known["recipe"], metric, baseline, compared, spread)


def _evaluated(folder: epath.Path) -> dict[int, Experiment]:
    try:
        found = experiments.find(folder)
    except ValueError:  # there is none yet
        return {}
    return {int(run.config["seed"]): run for run in found if studies.finished(run.folder)}


def _metric(baseline: Row) -> tuple[str, ...]:
    """The number that decides, and AP50 or what else comes second."""
    first, *others = next(iter(baseline.runs.values())).curves["eval"]
    return (first, *(["AP50"] if "AP50" in others else others[:1]))


def _spread(rows: Sequence[Row], number: str) -> Spread | None:
    """That of all that were trained, and learnt at least half of what the baseline, the first, has.

    What has learnt next to nothing scatters less; what changes the evaluation alone has the
    baseline's weights.
    """
    groups = [row.values(number) for row in rows if row.trains]
    means = [float(np.mean(list(group.values()))) for group in groups]
    return statistics.pooled(
        [group for group, mean in zip(groups, means, strict=True) if mean >= means[0] / 2]
    )


def _compared(row: Row, baseline: Row, number: str, spread: Spread | None) -> Row:
    values = row.values(number), baseline.values(number)
    pooled = spread and row.trains
    found = statistics.unpaired(*values, spread) if pooled else statistics.paired(*values)
    return dataclasses.replace(row, difference=found)


def cells(table: Table) -> tuple[Sequence[str], list[tuple[str, ...]]]:
    """Header and rows of the table as text."""
    header = (*HEADER, *table.metric, *HEADER_REST)
    return header, [_cells(row, table.metric) for row in (table.baseline, *table.changes)]


def _cells(row: Row, metric: Sequence[str]) -> tuple[str, ...]:
    cost = costs.read(row.folder)
    return (
        row.name,
        row.purpose,
        f"{cost['parameters']:,}" if cost else NOTHING,
        f"{cost['gflops']:.3f}" if cost else NOTHING,
        f"{cost['milliseconds']:.1f}" if cost else NOTHING,
        *(mean_and_deviation(row.values(name)) for name in metric),
        str(len(row.runs)),
        difference(row.difference),
        row.published or NOTHING,
        _minutes(row.minutes if row.trains else None),
        _minutes(row.processor_minutes),
        row.difference.verdict if row.difference else NOTHING,
    )


def difference(found: Difference | None) -> str:
    """A difference with its interval: "+1.2 ± 0.8"."""
    if found is None:
        return NOTHING
    mean = round(found.mean, 1) + 0.0  # no "-0.0"
    return f"{mean:+.1f}" + (f" ± {found.half:.1f}" if found.half is not None else "")


def caption(table: Table) -> list[str]:
    """Sentences that say how to read the table."""
    seeds = len(table.baseline.runs)
    first = (
        f"{table.recipe}: {table.metric[0]} and {table.metric[1]} in percent at the end of "
        f"training, mean ± standard deviation over seeds ({seeds} of the baseline). Differences "
        f"are of {table.metric[0]}, with an interval of 95 %; where it has 0 in it, it cannot be "
        "told whether the change is better or worse."
    )
    if table.spread:
        how = (
            f"Seeds scatter {table.metric[0]} by a standard deviation of "
            f"{table.spread.deviation:.2f}, pooled over the baseline and all changes that are "
            f"trained and reach half of its {table.metric[0]} ({table.spread.degrees} degrees of "
            "freedom), on the assumption that it is the same for all; intervals are Student's for "
            "this spread and the seeds on both sides. Changes of the evaluation alone share the "
            "baseline's weights and are compared seed by seed."
        )
    else:
        how = (
            "Intervals are Student's, of the differences of runs of equal seed; with fewer than "
            f"{statistics.FEWEST_TO_POOL} changes of two seeds there is no common spread to take."
        )
    count = len(table.changes)
    chance = (
        f"Of {count} changes without any effect, about {max(1, round(count / 20))} would be called "
        "better or worse by chance. GFLOPs are multiply-adds; ms is one image alone; minutes are "
        "of the training steps, processor minutes of the whole run."
    )
    return [first, how, chance]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) / 60 if known else None


def _minutes(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1f}"


def mean_and_deviation(values: Values) -> str:
    """Mean and standard deviation over seeds: "52.1 ± 0.4"."""
    if not values:
        return NOTHING
    numbers = np.array(list(values.values()))
    deviation = f" ± {numbers.std(ddof=1):.1f}" if len(numbers) > 1 else ""
    return f"{numbers.mean():.1f}{deviation}"
