"""A study as one self-contained HTML page."""

import html
from collections.abc import Sequence

import numpy as np

from jaxdet.report import chart, markup
from jaxdet.runs import costs, study
from jaxdet.runs.study import Row, Table

CLASSES = {"better": "better", "worse": "worse", "cannot be told": "untold"}  # of the page
COLOURS = {
    "better": "rgb(var(--good))",
    "worse": "rgb(var(--bad))",
    "cannot be told": "var(--blue)",
}
BEST = 5  # changes in the first chart of learning curves
_UNFOLDED = 12
_FAR = 4  # times the median difference: what is farther from 0 is an arrow at the edge


def render(table: Table) -> str:
    """The whole page as HTML."""
    sections = [("Summary", summary(table)), ("Differences", forest(table))]
    sections += [("Changes", all_changes(table)), ("Learning curves", learning_curves(table))]
    if any(row.processor_minutes for row in table.changes):
        sections.append(("Gain and cost", cost(table)))
    return markup.page(table.baseline.folder.resolve().parent.name, "jaxdet study", sections)


def summary(table: Table) -> str:
    """The baseline, how many changes have which verdict, and how to read the page."""
    first = study.mean_and_deviation(table.baseline.values(table.metric[0]))
    tiles = [
        (f"{table.metric[0]} of the baseline", first.split(" ")[0], f"{first}, {_seeds(table)}")
    ]
    verdicts = [row.difference.verdict for row in table.changes if row.difference]
    meaning = {
        "better": "the interval is above 0",
        "worse": "the interval is below 0",
        "cannot be told": "0 is in the interval",
    }
    tiles += [(name, f"{verdicts.count(name)}", meaning[name]) for name in CLASSES]
    if table.spread:
        between = f"of {table.metric[0]} between seeds, pooled"
        tiles.append(("standard deviation", f"{table.spread.deviation:.2f}", between))
    sentences = map(markup.paragraph, study.caption(table))
    return markup.tiles(tiles) + "".join(sentences)


def _seeds(table: Table) -> str:
    count = len(table.baseline.runs)
    return "1 seed" if count == 1 else f"{count} seeds"


def forest(table: Table) -> str:
    """The differences with their intervals, the greatest first."""
    rows = [row for row in table.changes if row.difference]
    if not rows:
        return markup.paragraph("No change is evaluated yet.")
    means = [row.difference.mean for row in rows]
    reach = _FAR * float(np.median(np.abs(means)))
    near = [row for row in rows if abs(row.difference.mean) <= reach] or rows
    ends = [0.0]
    for row in near:
        ends += [row.difference.mean - _half(row), row.difference.mean + _half(row)]
    axis = chart.axis("", ends)
    lines = [_forest_line(row, axis) for row in rows]
    ticks = "".join(
        f'<span style="--at:{axis.place(value):.4f}">{value:+g}</span>'
        if value
        else f'<span style="--at:{axis.place(value):.4f}">0</span>'
        for value in axis.ticks()
    )
    scale = f'<div><dt></dt><dd class="track axis">{ticks}</dd><dd></dd></div>'
    text = (
        f"{table.metric[0]} of a change less that of the baseline, in points, with its interval of "
        "95 %. Only an interval that does not reach the line at 0 says better or worse."
    )
    if len(near) < len(rows):
        text += " An arrow at the edge is beyond the scale."
    return markup.paragraph(text) + f'<dl class="forest">{scale}{"".join(lines)}{scale}</dl>'


def _half(row: Row) -> float:
    return row.difference.half or 0.0


def _forest_line(row: Row, axis: chart.Axis) -> str:
    found = row.difference
    values = {"zero": 0.0, "at": found.mean}
    values |= {"low": found.mean - _half(row), "high": found.mean + _half(row)}
    places = {name: axis.place(np.clip(at, axis.low, axis.high)) for name, at in values.items()}
    style = ";".join(f"--{name}:{place:.4f}" for name, place in places.items())
    beyond = {0.0: "left", 1.0: "right"}.get(places["at"], "")
    name = f"{html.escape(row.name)}<span>{html.escape(row.purpose)}</span>"
    return (
        f'<div class="{CLASSES[found.verdict]}"><dt>{name}</dt>'
        f'<dd class="track" style="{style}"><i></i><b class="{beyond}"></b></dd>'
        f"<dd>{html.escape(study.difference(found))}</dd></div>"
    )


def all_changes(table: Table) -> str:
    """The whole table, which can be sorted."""
    header, rows = study.cells(table)
    place = {name: header.index(name) for name in ("purpose", "difference", "verdict")}
    order = [0, place["difference"], place["verdict"]]
    order += [i for i in range(len(header)) if i not in (*order, place["purpose"])]
    shown = []
    for cells in rows:
        cells = list(map(html.escape, cells))
        cells[0] += f"<small>{cells[place['purpose']]}</small>"
        if css := CLASSES.get(cells[place["verdict"]]):
            verdict = cells[place["verdict"]]
            cells[place["verdict"]] = f'<span class="verdict {css}">{verdict}</span>'
        shown.append([cells[i] for i in order])
    names = [header[i] for i in order]
    drawn = markup.table(names, shown, css="sortable", safe=range(len(order)))
    return markup.paragraph("Click a column's name to sort.") + drawn


def learning_curves(table: Table) -> str:
    """The curves of the best changes together, then each beside the baseline."""
    kind, name = _curve_of(table)
    label = f"{name}, %" if kind == "eval" else f"training {name}"
    base = _curve(table.baseline, kind, name)
    trained = [(row, _curve(row, kind, name)) for row in table.changes if row.trains]
    best = {row.name: curve for row, curve in trained[:BEST]}
    x = chart.Axis("step", 0.0, float(base[0][-1]))
    y = chart.Axis(label, 0.0, 1.05 * max(max(each[1]) for each in [base, *best.values()]))
    together = chart.lines({"baseline": base, **best}, x=x, y=y, title="the best changes")
    every = {row.name: curve for row, curve in trained} | {"baseline": base}
    every = {name: (steps, np.minimum(ys, y.high)) for name, (steps, ys) in every.items()}
    look = dict(colours=[*(_dot(row) for row, _ in trained), "var(--blue)"], legend=False)
    all_of_them = chart.lines(every, x=x, y=y, title="all changes", **look)
    each = [_beside(row, curve, base, x, label) for row, curve in trained]
    text = (
        "Means over seeds. In the small charts the baseline is grey; losses of another definition "
        "have another scale."
    )
    folded = each[_UNFOLDED:]
    more = (
        f"<details><summary>{len(folded)} more changes</summary>"
        f"{markup.row(folded, 'small charts')}</details>"
    )
    shown = markup.row(each[:_UNFOLDED], "small charts")
    return (
        markup.paragraph(text)
        + markup.row([together, all_of_them])
        + shown
        + (more if folded else "")
    )


def _beside(row: Row, curve: tuple, base: tuple, x: chart.Axis, label: str) -> str:
    y = chart.Axis(label, 0.0, 1.05 * max(max(curve[1]), max(base[1])))
    colour = COLOURS[row.difference.verdict] if row.difference else "var(--blue)"
    title = f"{row.name} {study.difference(row.difference)}"
    look = dict(size=(260, 200), colours=["var(--faint)", colour], legend=False)
    return chart.lines({"baseline": base, row.name: curve}, x=x, y=y, title=title, **look)


def _curve_of(table: Table) -> tuple[str, str]:
    """What is drawn: the metric if it was evaluated more than once, else the training loss."""
    curves = next(iter(table.baseline.runs.values())).curves
    steps, _ = curves["eval"][table.metric[0]]
    return ("eval", table.metric[0]) if len(steps) > 1 else ("train", "loss")


def _curve(row: Row, kind: str, name: str) -> tuple[Sequence[float], Sequence[float]]:
    """The mean over the seeds, at the steps that all of them have logged."""
    curves = [dict(zip(*run.curves[kind][name], strict=True)) for run in row.runs.values()]
    steps = sorted(set.intersection(*(set(curve) for curve in curves)))
    scale = 100 if kind == "eval" else 1
    return steps, [scale * float(np.mean([curve[step] for curve in curves])) for step in steps]


def cost(table: Table) -> str:
    """The result of each change against what its training and its network cost."""
    trained = [row for row in (table.baseline, *table.changes) if row.trains]
    axes = {"processor minutes of a run": lambda row: row.processor_minutes}
    if all(costs.read(row.folder) for row in trained):
        axes["GFLOPs of an image"] = lambda row: costs.read(row.folder)["gflops"]
    results = [float(np.mean(list(row.values(table.metric[0]).values()))) for row in trained]
    charts = []
    for label, value in axes.items():
        at = [value(row) for row in trained]
        points = [
            (row.name, x, y, _dot(row)) for row, x, y in zip(trained, at, results, strict=True) if x
        ]
        across = chart.axis(label, [x for _, x, _, _ in points], log=True)
        up = chart.axis(f"{table.metric[0]}, %", results)
        charts.append(chart.scatter(points, x=across, y=up, title=f"against {label}"))
    text = "A dot for each change that is trained, and a blue one for the baseline."
    return markup.paragraph(text) + markup.row(charts)


def _dot(row: Row) -> str:
    if row.difference is None:
        return "var(--blue)"
    told = row.difference.verdict != "cannot be told"
    return COLOURS[row.difference.verdict] if told else "var(--faint)"
