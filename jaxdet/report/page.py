"""A report as one html page that needs nothing but itself."""

import html
import string
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from jaxdet.engine import evaluate
from jaxdet.metrics import errors
from jaxdet.report import chart, gallery, numbers
from jaxdet.report.evidence import Evidence

TEMPLATE = Path(__file__).with_name("page.html")
MEANING = {
    "classification": "on an object (IoU 0.5) that is of another class",
    "localisation": "on an object of its class, but badly placed (IoU 0.1 to 0.5)",
    "both": "badly placed, on an object of another class",
    "duplicate": "on an object that a better detection has found",
    "background": "on no object (IoU 0.1 at most)",
    "missed": "an object that no detection comes near",
}
_SHARE = chart.Axis("", 0.0, 1.0)


def render(evidence: Evidence) -> str:
    """The whole page."""
    sections: list[tuple[str, Callable[[Evidence], str]]] = [
        ("Headline", headline),
        ("Learning curves", learning_curves),
        ("Classes", class_table),
        ("Precision and recall", precision_recall),
        ("Confusion", confusion),
        ("Errors", error_table),
        ("Size", size_table),
        ("What makes a class hard", class_scatters),
        ("Calibration", calibration),
        ("Best and worst pictures", whole_pictures),
        ("Most confident mistakes", mistakes),
        ("Missed objects", missed),
    ]
    bar = tqdm(sections, desc="writing the report", unit="section", leave=False)
    body = "\n".join(
        f"<section><h2>{title}</h2>\n{section(evidence)}\n</section>" for title, section in bar
    )
    title = f"{evidence.workdir.resolve().name} on {evidence.recipe.data.eval}"
    template = string.Template(TEMPLATE.read_text(encoding="utf-8"))
    return template.substitute(title=html.escape(title), body=body)


def headline(evidence: Evidence) -> str:
    """The metric's numbers, and how they were made."""
    metric, at = evidence.recipe.evaluation.metric_name, evidence.threshold
    tiles = [(name, _percent(x)) for name, x in evaluate.numbers(evidence.result).items()]
    objects = len(evidence.dataset.table.labels)
    facts = [
        f"{metric.upper()} metric; {evaluate.protocol(evidence.recipe)}.",
        f"{evidence.recipe.data.eval}: {len(evidence.dataset):,} pictures, {objects:,} objects, "
        f"{len(evidence.dataset.classes)} classes. Checkpoint of step {evidence.step:,}.",
        f"Below, detections are right at IoU 0.5, and AP is the area under the curve: mAP "
        f"{_percent(evidence.voc['mAP_area'])} %. Where a threshold is needed it is the score "
        f"{at['score']:.3f}, at which F1 is best ({_percent(at['f1'])} %, precision "
        f"{_percent(at['precision'])} %, recall {_percent(at['recall'])} %).",
    ]
    purpose = evidence.recipe.purpose
    shown = "".join(f"<div><b>{value}</b><span>{name}</span></div>" for name, value in tiles)
    text = "".join(f"<p>{html.escape(fact)}</p>" for fact in [purpose, *facts] if fact)
    return f'<div class="tiles">{shown}</div>{text}'


def learning_curves(evidence: Evidence) -> str:
    """Losses and the metric against steps."""
    losses = evidence.curves.get("train", {})
    hidden = ("gradient_norm", "images_per_second", "share_waiting_for_input")
    losses = {name: curve for name, curve in losses.items() if name not in hidden}
    if not losses:
        return "<p>This workdir has no log of a training.</p>"
    charts = [_curves(losses, "loss", low=0.0)]
    results = {
        name: (steps, [100 * value for value in values])
        for name, (steps, values) in evidence.curves.get("eval", {}).items()
        if name in list(evaluate.numbers(evidence.result))[:3]
    }
    return _row(charts + ([_curves(results, "evaluation, %", low=0.0)] if results else []))


def _curves(series: dict, label: str, *, low: float) -> str:
    values = np.concatenate([values for _, values in series.values()])
    high = float(values.max()) * 1.05 or 1.0
    last = max(steps[-1] for steps, _ in series.values())
    x, y = chart.Axis("step", 0.0, float(last)), chart.Axis(label, low, high)
    return chart.lines(series, x=x, y=y, title=label)


def class_table(evidence: Evidence) -> str:
    """AP and more of every class, to be sorted by a click on a column's head."""
    coco = evidence.recipe.evaluation.metric_name == "coco"
    header = ["class", "objects", "detections", "AP50 area", "AP50 11-point"]
    header += (["AP 50:95"] if coco else []) + ["precision", "recall"]
    rows = []
    for label, (name, each) in enumerate(evidence.voc["classes"].items()):
        precision, recall = _at_threshold(evidence.confident, label)
        averages = [each["ap_area"], each["ap11"]]
        averages += [evidence.result["classes"][name]["AP"]] if coco else []
        counts = [f"{each['objects']:,}", f"{each['found']:,}"]
        rows.append([name, *counts, *map(_percent, [*averages, precision, recall])])
    return "<p>In percent; precision and recall at the threshold. Click a head to sort.</p>" + (
        _table(header, rows, css="sortable")
    )


def _at_threshold(pictures: Sequence, label: int) -> tuple[float | None, float | None]:
    right = found = objects = 0
    for each, truth, verdict in pictures:
        kinds = verdict.kinds[each.labels == label]
        right += int((kinds == errors.RIGHT).sum())
        found += int((kinds != errors.IGNORED).sum())
        objects += int((~truth.difficult[truth.labels == label]).sum())
    return right / found if found else None, right / objects if objects else None


def precision_recall(evidence: Evidence) -> str:
    """One small curve a class."""
    x, y = (chart.Axis(label, 0.0, 1.0) for label in ("recall", "precision"))
    charts = []
    for name, curve in evidence.voc["curves"].items():
        average = evidence.voc["classes"][name]["ap_area"]
        if average is None:
            continue
        title = f"{name}, AP {_percent(average)}"
        series = {name: (curve["recall"], curve["precision"])} if len(curve["recall"]) else {}
        charts.append(chart.lines(series, x=x, y=y, title=title, size=(240, 200)))
    return _row(charts)


def confusion(evidence: Evidence) -> str:
    """Objects by what they are and what they are taken for, at the threshold."""
    names = [*evidence.dataset.classes, "nothing"]
    table = numbers.confusion(evidence.confident, len(evidence.dataset.classes))
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    head = "".join(f"<th><span>{html.escape(name)}</span></th>" for name in names)
    rows = []
    for i, name in enumerate(names):
        cells = "".join(
            f'<td style="--share:{share[i, j]:.3f}" class="{"same" if i == j else "other"}" '
            f'title="{html.escape(f"{name} taken for {names[j]}")}">{count or ""}</td>'
            for j, count in enumerate(table[i].tolist())
        )
        rows.append(f"<tr><th>{html.escape(name)}</th>{cells}</tr>")
    return (
        "<p>Rows are what there is, columns what it is taken for, shaded by the share of the row; "
        "in the last row detections of nothing, in the last column objects not found.</p>"
        f'<div class="wide"><table class="confusion"><tr><td></td>{head}</tr>{"".join(rows)}'
        "</table></div>"
    )


def error_table(evidence: Evidence) -> str:
    """Error kinds, how many, and the mAP that each costs."""
    counts, costs = evidence.errors["counts"], evidence.errors["costs"]
    top = max(max(costs.values()), 1e-9)
    rows = [
        [kind, MEANING[kind], f"{counts[kind]:,}", _bar(costs[kind], top)] for kind in errors.KINDS
    ]
    return (
        "<p>The kinds of TIDE (Bolya et al. 2020), over detections of any score. The cost is how "
        "much mAP (points) would be gained if this kind, and no other, did not happen.</p>"
        + _table(["kind", "what", "how many", "costs"], rows, safe=(3,))
    )


def size_table(evidence: Evidence) -> str:
    """AP of small, medium and large objects."""
    sizes = numbers.ap_by_size(evidence.images, evidence.dataset.classes)
    rows = [
        [name, f"{each['objects']:,}", "-" if each["mAP"] is None else _bar(each["mAP"], 1.0)]
        for name, each in sizes.items()
    ]
    return (
        "<p>By COCO's sizes: small is less than 32 x 32 pixels, large at least 96 x 96.</p>"
        + _table(["objects", "how many", "mAP"], rows, safe=(2,))
    )


def class_scatters(evidence: Evidence) -> str:
    """AP against what the boxes of a class are like."""
    names, annotations = evidence.dataset.classes, [truth for _, truth, _ in evidence.images]
    average = [evidence.voc["classes"][name]["ap_area"] for name in names]
    charts = []
    for label, values in numbers.class_properties(annotations, names).items():
        known = [k for k, ap in enumerate(average) if ap is not None and np.isfinite(values[k])]
        x, y = np.array([values[k] for k in known]), np.array([100 * average[k] for k in known])
        r = numbers.correlation(np.log10(x), y)
        title = f"r = {r:.2f} over {len(known)} classes" if r is not None else "too few for r"
        across = chart.axis(label, x, log=True)
        up = chart.axis("AP, %", y)
        points = [(names[k], values[k], 100 * average[k]) for k in known]
        charts.append(chart.scatter(points, x=across, y=up, title=title))
    text = "One dot a class; r is Pearson's, with the logarithm of what is across."
    return f"<p>{text}</p>" + _row(charts)


def calibration(evidence: Evidence) -> str:
    """Whether a score says how often a detection is right."""
    bins = numbers.calibration(evidence.images)
    x, y = (chart.Axis(label, 0.0, 1.0) for label in ("score", "share that is right"))
    series = {"detections": (bins["score"], bins["precision"])} if len(bins["score"]) else {}
    drawn = chart.lines(series, x=x, y=y, diagonal=True, title=f"ECE {100 * bins['error']:.1f} %")
    rows = [
        [f"{score:.3f}", f"{count:,}", _percent(precision)]
        for score, count, precision in zip(
            bins["score"], bins["count"].tolist(), bins["precision"], strict=True
        )
    ]
    text = "Ten bins of the score; above the diagonal detections are righter than they score."
    table = _table(["mean score", "detections", "right, %"], rows)
    return f"<p>{text}</p>" + _row([drawn, table])


def whole_pictures(evidence: Evidence) -> str:
    """Two galleries of whole pictures."""
    best, worst = gallery.best_and_worst(evidence)
    key = "".join(
        f'<span class="{css}">{text}</span>'
        for css, text in (("right", "right"), ("wrong", "wrong"), ("missed", "not found"))
    )
    return f'<p class="key">At the threshold: {key}</p><h3>Best</h3>{best}<h3>Worst</h3>{worst}'


def mistakes(evidence: Evidence) -> str:
    """Wrong detections by falling score."""
    return '<p class="key">The detection is <span class="wrong">red</span>, the object that it ' + (
        f'is about <span class="object">white</span>.</p>{gallery.confident_mistakes(evidence)}'
    )


def missed(evidence: Evidence) -> str:
    """Objects that are not found, the largest first."""
    text = "At the threshold, the largest first; no detection of the class comes near."
    return f"<p>{text}</p>{gallery.missed_objects(evidence)}"


def _row(parts: Sequence[str]) -> str:
    return f'<div class="row">{"".join(parts)}</div>'


def _table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    css: str = "plain",
    safe: Sequence[int] = (),
) -> str:
    """A table; the columns `safe` are html already."""
    is_number = [
        all(c == "-" or c[-1].isdigit() for c in cells) for cells in zip(*rows, strict=True)
    ]
    side = ["number" if is_ else "text" for is_ in is_number] or ["text"] * len(header)
    head = "".join(
        f'<th class="{s}">{html.escape(h)}</th>' for s, h in zip(side, header, strict=True)
    )
    lines = (
        "".join(
            f'<td class="{side[i]}">{c if i in safe else html.escape(c)}</td>'
            for i, c in enumerate(row)
        )
        for row in rows
    )
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    table = f'<table class="{css}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="wide">{table}</div>'


def _bar(value: float, top: float) -> str:
    return f'<span class="bar" style="--share:{max(value, 0) / top:.3f}"></span>{_percent(value)}'


def _percent(value: float | None) -> str:
    return "-" if value is None or value < -0.5 else f"{100 * value:.2f}"
