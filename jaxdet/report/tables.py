"""The sections of a report that are tables."""

import html
from collections.abc import Sequence

import numpy as np

from jaxdet.metrics import coco, errors
from jaxdet.report import markup, numbers
from jaxdet.report.evidence import Evidence

MEANING = {
    "classification": "overlaps an object of another class (IoU at least 0.5)",
    "localisation": "correct class, but poorly localised (IoU 0.1 to 0.5)",
    "both": "wrong class and poorly localised",
    "duplicate": "matches an object that a higher-scoring detection has matched",
    "background": "overlaps no object (IoU at most 0.1)",
    "missed": "an object with no correct detection, and no classification or localisation error",
}


def ap50_name(evidence: Evidence) -> str:
    """The name of the one AP at IoU 0.5 that a report gives for each class."""
    return "AP50, 101-point" if evidence.recipe.evaluation.metric is coco else "AP50, area"


def ap50(evidence: Evidence, name: str) -> float | None:
    """That AP of a class, as the run's own metric computes it; None without objects."""
    if evidence.recipe.evaluation.metric is coco:
        value = evidence.result["classes"][name]["AP50"]
        return None if value < 0 else value
    return evidence.voc["classes"][name]["ap_area"]


def class_table(evidence: Evidence) -> str:
    """AP, precision and recall of every class that occurs; clicking a column header sorts."""
    is_coco = evidence.recipe.evaluation.metric is coco
    other = "AP 50:95" if is_coco else "AP50, 11-point"
    header = ["class", "objects", "detections", ap50_name(evidence), other, "precision", "recall"]
    rows, absent = [], []
    for label, (name, each) in enumerate(evidence.voc["classes"].items()):
        if not each["objects"]:
            absent.append(f"{name} ({each['found']:,})")
            continue
        second = evidence.result["classes"][name]["AP"] if is_coco else each["ap11"]
        at = _at_threshold(evidence.confident, label)
        counts = [f"{each['objects']:,}", f"{each['found']:,}"]
        numbers_ = [markup.bar(ap50(evidence, name)), *map(markup.percent, [second, *at])]
        rows.append([markup.dotted(name, label), *counts, *numbers_])
    text = "In percent; precision and recall at the threshold. Click a column's name to sort."
    left_out = (
        f"Not in the table, because {evidence.recipe.data.eval} has no object of them (in brackets "
        f"their detections, all wrong): {', '.join(absent)}."
    )
    shown = markup.table(header, rows, css="sortable", safe=(0, 3))
    return markup.paragraph(text) + shown + (markup.paragraph(left_out) if absent else "")


def _at_threshold(images: Sequence, label: int) -> tuple[float | None, float | None]:
    correct = detected = objects = 0
    for each, truth, verdict in images:
        kinds = verdict.kinds[each.labels == label]
        correct += int((kinds == errors.RIGHT).sum())
        detected += int((kinds != errors.IGNORED).sum())
        objects += int((~truth.difficult[truth.labels == label]).sum())
    return correct / detected if detected else None, correct / objects if objects else None


def confusion(evidence: Evidence) -> str:
    """The confusion matrix at the threshold: true class against predicted class."""
    names = [*evidence.dataset.classes, "background"]
    table = numbers.confusion(evidence.confident, len(evidence.dataset.classes))
    used = [k for k in range(len(names) - 1) if table[k].any() or table[:, k].any()]
    used.append(len(names) - 1)
    table = table[np.ix_(used, used)]
    names = [html.escape(names[k]) for k in used]
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    head = "".join(f"<th><span>{name}</span></th>" for name in names)
    rows = []
    for i, name in enumerate(names):
        cells = "".join(
            _cell(int(table[i, j]), share[i, j], f"{name} predicted as {names[j]}", same=i == j)
            for j in range(len(names))
        )
        first = f'<th class="axis" rowspan="{len(names)}"><span>← true class</span></th>'
        rows.append(f"<tr>{first if i == 0 else ''}<th>{name}</th>{cells}</tr>")
    text = (
        f"Matches at IoU 0.5 of the detections with a score of at least "
        f"{evidence.threshold['score']:.3f}. A cell holds the number of objects; its shade, and "
        "the percentages, are its share of its row, the true class. The last row counts detections "
        "that match no object, the last column undetected objects."
    )
    dense = " dense" if len(names) > 30 else ""
    switch = (
        '<p class="switch"><label><input type="radio" name="cells" checked> counts</label>'
        '<label><input type="radio" name="cells" class="shares"> % of the row</label></p>'
    )
    return (
        f'{markup.paragraph(text)}<div class="beside"><div class="matrix">{switch}'
        f'<div class="wide">'
        f'<table class="confusion{dense}"><tr><td colspan="2"></td><th class="axis" '
        f'colspan="{len(names)}"><span>predicted class →</span></th></tr>'
        f'<tr><td colspan="2"></td>{head}</tr>'
        f"{''.join(rows)}</table></div></div>{_confusions(table, share, names)}</div>"
    )


def _confusions(table: np.ndarray, share: np.ndarray, names: Sequence[str]) -> str:
    """The pairs of classes that are taken for one another most often; `names` are HTML."""
    pairs = table[:-1, :-1] * (1 - np.eye(len(names) - 1, dtype=int))
    order = [divmod(int(k), len(names) - 1) for k in np.argsort(-pairs, axis=None, kind="stable")]
    rows = [
        [f"{names[i]} as {names[j]}", f"{pairs[i, j]:,}", markup.percent(share[i, j])]
        for i, j in order[:10]
        if pairs[i, j]
    ]
    header = ["most frequent confusions", "objects", "% of the class"]
    return markup.table(header, rows, safe=(0,)) if rows else ""


def _cell(count: int, share: float, meaning: str, *, same: bool) -> str:
    shown = f"<b>{count}</b><i>{100 * share:.0f}</i>" if count else ""
    dark = " dark" if share > 0.55 else ""
    return (
        f'<td style="--share:{share:.3f}" class="{"same" if same else "other"}{dark}" '
        f'title="{meaning}: {count} ({100 * share:.1f} % of the row)">{shown}</td>'
    )


def error_table(evidence: Evidence) -> str:
    """The types of error, their counts, and the mAP that each costs."""
    counts, costs = evidence.errors["counts"], evidence.errors["costs"]
    top = max(max(costs.values()), 1e-9)
    rows = [
        [kind, MEANING[kind], f"{counts[kind]:,}", markup.bar(costs[kind], top)]
        for kind in errors.KINDS
    ]
    text = (
        "The error types of TIDE (Bolya et al. 2020), over detections of any score. The cost is "
        "how many points of mAP would be gained by mending this type of error alone, from an AP50 "
        f"(area under the curve) of {markup.percent(evidence.errors['mAP'])}."
    )
    header = ["type", "meaning", "count", "cost, points"]
    return (
        markup.paragraph(text)
        + markup.table(header, rows, safe=(3,))
        + markup.paragraph(missed(evidence))
    )


def missed(evidence: Evidence) -> str:
    """What "missed" means: by TIDE over all scores, and at the threshold."""
    truths = [truth for _, truth, _ in evidence.confident]
    objects = sum(int((~truth.difficult).sum()) for truth in truths)
    undetected = sum(int((~v.detected & ~t.difficult).sum()) for _, t, v in evidence.confident)
    at_threshold = sum(int(v.missed.sum()) for _, _, v in evidence.confident)
    by_tide, threshold = evidence.errors["counts"]["missed"], evidence.threshold["score"]
    return (
        f"Missed is counted twice. With detections of any score, {by_tide:,} of {objects:,} "
        f"objects are missed: TIDE's number. At the threshold of {threshold:.3f} there are fewer "
        f"detections: {undetected:,} objects have no correct one. Of these, "
        f"{undetected - at_threshold:,} have one of another class or with a poor box, and "
        f"{at_threshold:,} have none at all; those are in the gallery of missed objects."
    )


def size_table(evidence: Evidence) -> str:
    """AP of small, medium and large objects."""
    sizes = numbers.ap_by_size(evidence.images, evidence.dataset.classes)
    rows = [
        [name, f"{each['objects']:,}", markup.bar(each["mAP"])]
        for name, each in sizes.items()
        if each["objects"]
    ]
    absent = [name for name, each in sizes.items() if not each["objects"]]
    text = "Sizes as in COCO: small is less than 32 x 32 pixels, large at least 96 x 96."
    text += f" There are no {' and no '.join(absent)} objects." if absent else ""
    header = ["size", "objects", "mean AP50, area"]
    return markup.paragraph(text) + markup.table(header, rows, safe=(2,))
