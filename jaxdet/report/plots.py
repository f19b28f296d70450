"""The sections of a report that are charts."""

import html

import numpy as np

from jaxdet import visualize
from jaxdet.engine import evaluate
from jaxdet.report import chart, markup, numbers
from jaxdet.report.evidence import Evidence
from jaxdet.report.tables import ap50, ap50_name

_HIDDEN = ("gradient_norm", "images_per_second", "share_waiting_for_input")
_MAX_CURVES = 24  # precision-recall curves that are not folded away


def learning_curves(evidence: Evidence) -> str:
    """Training losses and the evaluation metric by step."""
    losses = evidence.curves.get("train", {})
    losses = {name: curve for name, curve in losses.items() if name not in _HIDDEN}
    rates = {name: losses.pop(name) for name in list(losses) if name == "learning_rate"}
    if not losses:
        return (
            "<p>There is no training log in this workdir: its weights were trained elsewhere.</p>"
        )
    charts = [_curves(losses, "loss")]
    results = {
        name: (steps, [100 * value for value in values])
        for name, (steps, values) in evidence.curves.get("eval", {}).items()
        if name in list(evaluate.numbers(evidence.result))[:3]
    }
    charts += [_curves(results, "evaluation, %")] if results else []
    charts += [_curves(rates, "learning rate")] if rates else []
    return markup.row(charts)


def _curves(series: dict, label: str) -> str:
    values = np.concatenate([values for _, values in series.values()])
    high = float(values.max()) * 1.05 or 1.0
    last = max(steps[-1] for steps, _ in series.values())
    x, y = chart.Axis("step", 0.0, float(last)), chart.Axis(label, 0.0, high)
    return chart.lines(series, x=x, y=y, title=label)


def over_threshold(evidence: Evidence) -> str:
    """F1, precision and recall over the score threshold, as a chart and a table."""
    at, best = numbers.over_threshold(evidence.images), evidence.threshold
    if not len(at["score"]):
        return "<p>There are no detections.</p>"
    names = {"precision": "precision", "recall": "recall", "F1": "f1"}
    grid = np.linspace(0, at["score"][0], 201)
    kept = np.searchsorted(-at["score"], -grid, side="right") - 1
    series = {name: (grid, 100 * at[key][kept]) for name, key in names.items()}
    x, y = chart.Axis("score threshold", 0.0, 1.0), chart.Axis("%", 0.0, 100.0)
    drawn = chart.lines(series, x=x, y=y, mark=best["score"], title="over the score threshold")
    rows = []
    steps = [(f"{score:.1f}", score) for score in np.arange(0.1, 1.0, 0.1)]
    steps.append((f"{best['score']:.3f}, best F1", best["score"]))
    for name, score in sorted(steps, key=lambda each: each[1]):
        if kept := int((at["score"] >= score).sum()):
            shares = [markup.percent(float(at[key][kept - 1])) for key in names.values()]
            rows.append([name, f"{at['detections'][kept - 1]:,}", *shares])
    table = markup.table(["at least", "detections", *names], rows)
    text = (
        "All classes together, at IoU 0.5. The dashed line is the threshold with the best F1, "
        "which this page uses wherever one is needed: choose yours by what an error costs you."
    )
    return markup.paragraph(text) + markup.row([drawn, table])


def precision_recall(evidence: Evidence) -> str:
    """One small precision-recall curve per class."""
    x, y = (chart.Axis(label, 0.0, 1.0) for label in ("recall", "precision"))
    charts = []
    for label, (name, curve) in enumerate(evidence.voc["curves"].items()):
        average = ap50(evidence, name)
        if average is None:
            continue
        title = f"{name} {markup.percent(average)}"
        series = {name: (curve["recall"], curve["precision"])} if len(curve["recall"]) else {}
        look = dict(size=(260, 200), colours=[_colour(label)] * len(series))
        objects = evidence.voc["classes"][name]["objects"]
        charts.append((objects, chart.lines(series, x=x, y=y, title=title, **look)))
    if len(charts) > _MAX_CURVES:
        charts.sort(key=lambda each: -each[0])
    charts = [drawn for _, drawn in charts]
    text = "At IoU 0.5, over all detections of a class; beside its name is its "
    text += f"{ap50_name(evidence)}, in percent."
    folded = charts[_MAX_CURVES:]
    more = (
        f"<details><summary>{len(folded)} more classes, with fewer objects</summary>"
        f"{markup.row(folded, 'small charts')}</details>"
    )
    shown = markup.row(charts[:_MAX_CURVES], "small charts")
    return markup.paragraph(text) + shown + (more if folded else "")


def class_scatters(evidence: Evidence) -> str:
    """AP of each class against the number, size and aspect ratio of its boxes."""
    names = evidence.dataset.classes
    charts = []
    for label, known, x, y in _class_points(evidence):
        across = chart.axis(label, x, log=True)
        up = chart.axis(f"{ap50_name(evidence)}, %", y)
        points = [(names[k], *at, _colour(k)) for k, *at in zip(known, x, y, strict=True)]
        charts.append(chart.scatter(points, x=across, y=up, title=f"AP50 and {label}"))
    text = (
        "One dot per class. rho is Spearman's correlation, of the ranks; p the share of random "
        "pairings of the classes that correlate at least as strongly (a two-sided permutation "
        "test): above 0.05, rho may well be chance."
    )
    said = "".join(map(markup.paragraph, class_sentences(evidence)))
    return markup.paragraph(text) + markup.row(charts) + said


def class_sentences(evidence: Evidence) -> list[str]:
    """Whether AP goes with the number, size and aspect ratio of the boxes of a class, in words."""
    return [_sentence(label, x, y) for label, _, x, y in _class_points(evidence)]


def _sentence(label: str, x: np.ndarray, y: np.ndarray) -> str:
    found = numbers.correlation(x, y)
    if found is None:
        return f"AP50 and {label}: too few classes for a correlation ({len(x)})."
    rho, p = found
    shown = f"p = {p:.2g}" if p >= 0.001 else "p < 0.001"
    way = "rises" if rho > 0 else "falls"
    verdict = f"AP50 {way} with {label}" if p <= 0.05 else f"no sure relation of AP50 and {label}"
    return f"{verdict[0].upper()}{verdict[1:]}: rho = {rho:.2f}, {shown}, {len(x)} classes."


def _class_points(evidence: Evidence) -> list[tuple[str, list[int], np.ndarray, np.ndarray]]:
    """For each property of a class: its name, the classes that have it, its values, AP50 in %."""
    names, annotations = evidence.dataset.classes, [truth for _, truth, _ in evidence.images]
    average = [ap50(evidence, name) for name in names]
    points = []
    for label, values in numbers.class_properties(annotations, names).items():
        known = [k for k, ap in enumerate(average) if ap is not None and np.isfinite(values[k])]
        x, y = np.array([values[k] for k in known]), np.array([100 * average[k] for k in known])
        points.append((label, known, x, y))
    return points


def calibration(evidence: Evidence) -> str:
    """How well the scores agree with the share of detections that are correct."""
    bins = numbers.calibration(evidence.images)
    x, y = (chart.Axis(label, 0.0, 1.0) for label in ("score", "share correct"))
    series = {"detections": (bins["score"], bins["precision"])} if len(bins["score"]) else {}
    title = f"expected calibration error {markup.percent(bins['error'])} %"
    drawn = chart.lines(series, x=x, y=y, diagonal=True, title=title)
    rows = [
        [f"{score:.3f}", f"{count:,}", markup.percent(precision)]
        for score, count, precision in zip(
            bins["score"], bins["count"].tolist(), bins["precision"], strict=True
        )
    ]
    text = (
        "Detections in ten bins of score. Above the diagonal they are correct more often than "
        "their score says (under-confident), below it less often (over-confident)."
    )
    table = markup.table(["mean score", "detections", "correct, %"], rows)
    return f"<p>{html.escape(text)}</p>" + markup.row([drawn, table])


def _colour(label: int) -> str:
    return visualize.css(visualize.class_colour(label))
