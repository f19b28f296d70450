"""Renders a report as one self-contained HTML page."""

from collections.abc import Callable

from tqdm import tqdm

from jaxdet.engine import evaluate
from jaxdet.metrics import coco, voc
from jaxdet.report import facts, gallery, markup, plots, tables
from jaxdet.report.evidence import Evidence

EXPLANATIONS = {
    "AP": "mean over IoU 0.50 to 0.95",
    "AP50": "at IoU 0.50, COCO's 101 points",
    "AP75": "at IoU 0.75",
    "APs": "objects below 32 x 32 pixels",
    "APm": "32 x 32 to 96 x 96 pixels",
    "APl": "larger objects",
    "mAP11": "AP50 by VOC2007's 11 points",
    "mAP_area": "AP50, area under the curve",
    "AR1": "recall, 1 detection an image",
    "ARs": "recall of small objects",
    "ARm": "recall of medium objects",
    "ARl": "recall of large objects",
}


def render(evidence: Evidence) -> str:
    """The whole page as HTML."""
    sections: list[tuple[str, Callable[[Evidence], str]]] = [
        ("Summary", summary),
        ("Learning curves", plots.learning_curves),
        ("Score threshold", plots.over_threshold),
        ("Classes", tables.class_table),
        ("Precision and recall", plots.precision_recall),
        ("Confusion matrix", tables.confusion),
        ("Error types", tables.error_table),
        ("Object size", tables.size_table),
        ("What makes a class hard", plots.class_scatters),
        ("Calibration", plots.calibration),
        ("Best and worst images", whole_images),
        ("Most confident mistakes", mistakes),
        ("Missed objects", missed),
    ]
    bar = tqdm(sections, desc="writing the report", unit="section", leave=False)
    title = f"{evidence.workdir.resolve().name} on {evidence.recipe.data.eval}"
    return markup.page(title, "jaxdet report", [(name, section(evidence)) for name, section in bar])


def summary(evidence: Evidence) -> str:
    """The values of the metric, how they were measured, and facts about the run."""
    at = evidence.threshold
    shown = [
        (name, markup.percent(value), _explained(name, evidence))
        for name, value in evaluate.numbers(evidence.result).items()
        if value > -0.5  # not defined: there are no objects of that size
    ]
    shown.append(("best F1", markup.percent(at["f1"]), f"at score {at['score']:.3f}, IoU 0.50"))
    return (
        markup.tiles(shown)
        + markup.paragraph(f"All in percent. {_INTERVALS} {_which_ap50(evidence)}", "note")
        + facts.card(evidence)
    )


_INTERVALS = (
    "In brackets, the interval of 95 % for other images like these, from a thousand draws of as "
    "many of them with replacement; another training would differ, too."
)


def _explained(name: str, evidence: Evidence) -> str:
    """What a number is, and its interval."""
    what = EXPLANATIONS.get(name, _recall(name))
    if name not in evidence.intervals:
        return what
    ends = map(markup.percent, evidence.intervals[name])
    return f"{what} {markup.interval(*ends)}"


def _recall(name: str) -> str:
    return f"recall, {name[2:]} detections an image" if name.startswith("AR") else ""


def _which_ap50(evidence: Evidence) -> str:
    """Says how the AP50s of this page are computed, where there are two ways."""
    area = markup.percent(evidence.voc["mAP_area"])
    if evidence.recipe.evaluation.metric is coco:
        return (
            "AP50 of the tiles and of each class is COCO's, read off at 101 points; error types "
            f"and object sizes need the area under the curve, by which the mean AP50 is {area}."
        )
    if evidence.recipe.evaluation.metric is voc:
        return "Where nothing else is said, AP50 is the area under the curve: mAP_area."
    return f"AP50 is the area under the curve; its mean over the classes is {area}."


def whole_images(evidence: Evidence) -> str:
    """The images with the best and the worst F1."""
    best, worst = gallery.best_and_worst(evidence)
    keys = gallery.key("right", "wrong", "missed")
    text = "At the threshold. The dot of a label has the colour of its class. Click to enlarge."
    return f"{markup.paragraph(text)}{keys}<h3>Best</h3>{best}<h3>Worst</h3>{worst}"


def mistakes(evidence: Evidence) -> str:
    """The wrong detections with the highest scores."""
    key = '<p class="key"><span class="wrong">detection</span>'
    key += '<span class="object">the object it concerns</span></p>'
    return f"{key}{gallery.confident_mistakes(evidence)}"


def missed(evidence: Evidence) -> str:
    """The missed objects, largest first."""
    text = f"{tables.missed(evidence)} Largest first."
    return markup.paragraph(text) + gallery.missed_objects(evidence)
