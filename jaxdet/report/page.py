"""Renders a report as one self-contained HTML page."""

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
    "classification": "overlaps an object of another class (IoU at least 0.5)",
    "localisation": "correct class, but poorly localised (IoU 0.1 to 0.5)",
    "both": "wrong class and poorly localised",
    "duplicate": "matches an object that a higher-scoring detection has matched",
    "background": "overlaps no object (IoU at most 0.1)",
    "missed": "an undetected object with no classification or localisation error",
}
_SHARE = chart.Axis("", 0.0, 1.0)


def render(evidence: Evidence) -> str:
    """The whole page as HTML."""
    sections: list[tuple[str, Callable[[Evidence], str]]] = [
        ("Summary", summary),
        ("Learning curves", learning_curves),
        ("Classes", class_table),
        ("Precision and recall", precision_recall),
        ("Confusion matrix", confusion),
        ("Error types", error_table),
        ("Object size", size_table),
        ("What makes a class hard", class_scatters),
        ("Calibration", calibration),
        ("Best and worst images", whole_images),
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


def summary(evidence: Evidence) -> str:
    """The values of the metric, and how they were measured."""
    metric, at = evidence.recipe.evaluation.metric_name, evidence.threshold
    tiles = [(name, _percent(x)) for name, x in evaluate.numbers(evidence.result).items()]
    objects = len(evidence.dataset.table.labels)
    facts = [
        f"{metric.upper()} metric; {evaluate.protocol(evidence.recipe)}.",
        f"{evidence.recipe.data.eval}: {len(evidence.dataset):,} images, {objects:,} objects, "
        f"{len(evidence.dataset.classes)} classes. Checkpoint at step {evidence.step:,}.",
        f"Below, detections are correct at IoU 0.5, and AP is the area under the precision-recall "
        f"curve: mAP {_percent(evidence.voc['mAP_area'])} %. Where a score threshold is needed, it "
        f"is {at['score']:.3f}, which gives the best F1 ({_percent(at['f1'])} %, precision "
        f"{_percent(at['precision'])} %, recall {_percent(at['recall'])} %).",
    ]
    purpose = evidence.recipe.purpose
    shown = "".join(f"<div><b>{value}</b><span>{name}</span></div>" for name, value in tiles)
    text = "".join(f"<p>{html.escape(fact)}</p>" for fact in [purpose, *facts] if fact)
    return f'<div class="tiles">{shown}</div>{text}'


def learning_curves(evidence: Evidence) -> str:
    """Training losses and the evaluation metric by step."""
    losses = evidence.curves.get("train", {})
    hidden = ("gradient_norm", "images_per_second", "share_waiting_for_input", "learning_rate")
    losses = {name: curve for name, curve in losses.items() if name not in hidden}
    if not losses:
        return "<p>This workdir has no training log.</p>"
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
    """AP, precision and recall of every class; clicking a column header sorts the table."""
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
    text = "AP, precision and recall are in percent, the latter two at the threshold. "
    text += "Click a column header to sort."
    return f"<p>{text}</p>" + _table(header, rows, css="sortable")


def _at_threshold(images: Sequence, label: int) -> tuple[float | None, float | None]:
    correct = detected = objects = 0
    for each, truth, verdict in images:
        kinds = verdict.kinds[each.labels == label]
        correct += int((kinds == errors.RIGHT).sum())
        detected += int((kinds != errors.IGNORED).sum())
        objects += int((~truth.difficult[truth.labels == label]).sum())
    return correct / detected if detected else None, correct / objects if objects else None


def precision_recall(evidence: Evidence) -> str:
    """One small precision-recall curve per class."""
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
    """The confusion matrix at the threshold: true class against predicted class."""
    names = [*evidence.dataset.classes, "background"]
    table = numbers.confusion(evidence.confident, len(evidence.dataset.classes))
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    head = "".join(f"<th><span>{html.escape(name)}</span></th>" for name in names)
    rows = []
    for i, name in enumerate(names):
        cells = "".join(
            f'<td style="--share:{share[i, j]:.3f}" class="{"same" if i == j else "other"}" '
            f'title="{html.escape(f"{name} predicted as {names[j]}")}">{count or ""}</td>'
            for j, count in enumerate(table[i].tolist())
        )
        rows.append(f"<tr><th>{html.escape(name)}</th>{cells}</tr>")
    return (
        "<p>Rows are true classes, columns are predicted classes; cells are shaded by their share "
        "of the row. The last row counts detections that match no object, the last column "
        "undetected objects.</p>"
        f'<div class="wide"><table class="confusion"><tr><td></td>{head}</tr>{"".join(rows)}'
        "</table></div>"
    )


def error_table(evidence: Evidence) -> str:
    """The types of error, their counts, and the mAP that each costs."""
    counts, costs = evidence.errors["counts"], evidence.errors["costs"]
    top = max(max(costs.values()), 1e-9)
    rows = [
        [kind, MEANING[kind], f"{counts[kind]:,}", _bar(costs[kind], top)] for kind in errors.KINDS
    ]
    return (
        "<p>The error types of TIDE (Bolya et al. 2020), over detections of any score. The cost is "
        "the mAP, in points, that would be gained by fixing this type of error alone.</p>"
        + _table(["type", "meaning", "count", "cost"], rows, safe=(3,))
    )


def size_table(evidence: Evidence) -> str:
    """AP of small, medium and large objects."""
    sizes = numbers.ap_by_size(evidence.images, evidence.dataset.classes)
    rows = [
        [name, f"{each['objects']:,}", "-" if each["mAP"] is None else _bar(each["mAP"], 1.0)]
        for name, each in sizes.items()
    ]
    return (
        "<p>Sizes as in COCO: small is less than 32 x 32 pixels, large at least 96 x 96.</p>"
        + _table(["size", "objects", "mAP, %"], rows, safe=(2,))
    )


def class_scatters(evidence: Evidence) -> str:
    """AP of each class against the number, size and aspect ratio of its boxes."""
    names, annotations = evidence.dataset.classes, [truth for _, truth, _ in evidence.images]
    average = [evidence.voc["classes"][name]["ap_area"] for name in names]
    charts = []
    for label, values in numbers.class_properties(annotations, names).items():
        known = [k for k, ap in enumerate(average) if ap is not None and np.isfinite(values[k])]
        x, y = np.array([values[k] for k in known]), np.array([100 * average[k] for k in known])
        r = numbers.correlation(np.log10(x), y)
        title = f"r = {r:.2f} over {len(known)} classes" if r is not None else "r is undefined"
        across = chart.axis(label, x, log=True)
        up = chart.axis("AP, %", y)
        points = [(names[k], values[k], 100 * average[k]) for k in known]
        charts.append(chart.scatter(points, x=across, y=up, title=title))
    text = "One dot per class; r is Pearson's correlation of AP with the logarithm of the x axis."
    return f"<p>{text}</p>" + _row(charts)


def calibration(evidence: Evidence) -> str:
    """How well the scores agree with the share of detections that are correct."""
    bins = numbers.calibration(evidence.images)
    x, y = (chart.Axis(label, 0.0, 1.0) for label in ("score", "share correct"))
    series = {"detections": (bins["score"], bins["precision"])} if len(bins["score"]) else {}
    drawn = chart.lines(series, x=x, y=y, diagonal=True, title=f"ECE {100 * bins['error']:.1f} %")
    rows = [
        [f"{score:.3f}", f"{count:,}", _percent(precision)]
        for score, count, precision in zip(
            bins["score"], bins["count"].tolist(), bins["precision"], strict=True
        )
    ]
    text = (
        "Detections in ten bins of score. Above the diagonal they are correct more often than "
        "their score says (under-confident), below it less often (over-confident)."
    )
    table = _table(["mean score", "detections", "correct, %"], rows)
    return f"<p>{text}</p>" + _row([drawn, table])


def whole_images(evidence: Evidence) -> str:
    """The images with the best and the worst F1."""
    best, worst = gallery.best_and_worst(evidence)
    key = "".join(
        f'<span class="{css}">{text}</span>'
        for css, text in (("right", "correct"), ("wrong", "wrong"), ("missed", "not detected"))
    )
    return f'<p class="key">At the threshold: {key}</p><h3>Best</h3>{best}<h3>Worst</h3>{worst}'


def mistakes(evidence: Evidence) -> str:
    """The wrong detections with the highest scores."""
    return (
        '<p class="key">The detection is <span class="wrong">red</span>, the object it concerns is '
        f'<span class="object">white</span>.</p>{gallery.confident_mistakes(evidence)}'
    )


def missed(evidence: Evidence) -> str:
    """The missed objects, largest first."""
    text = (
        "Undetected at the threshold, with no classification or localisation error; largest first."
    )
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
    """An HTML table; the columns in `safe` are HTML already, the others are escaped."""
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
