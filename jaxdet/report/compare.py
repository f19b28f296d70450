"""A page that compares two detectors on the same images: what one finds and the other does not."""

import dataclasses

import numpy as np

from jaxdet.engine import evaluate
from jaxdet.metrics import errors
from jaxdet.report import facts, gallery, markup
from jaxdet.report.evidence import Evidence

MAX_PAIRS = 6  # images in a gallery, each shown twice


@dataclasses.dataclass(frozen=True)
class Found:
    """Which of the n objects of each image two detectors find, without the difficult ones."""

    a: list[np.ndarray]  # [n] bool for each image
    b: list[np.ndarray]
    labels: list[np.ndarray]  # [n]

    def counts(self, label: int | None = None) -> tuple[int, int, int, int]:
        """How many objects, of a class or of all, both find, only A, only B, and neither."""
        a, b, labels = (np.concatenate(each) for each in (self.a, self.b, self.labels))
        of = labels == label if label is not None else np.ones(len(labels), bool)
        both, only_a, only_b, neither = a & b & of, a & ~b & of, ~a & b & of, ~a & ~b & of
        return tuple(int(each.sum()) for each in (both, only_a, only_b, neither))


def found(a: Evidence, b: Evidence) -> Found:
    """Which objects each detector finds, at IoU 0.5 and at its own threshold."""
    counted = [~truth.difficult for _, truth, _ in a.confident]
    of = lambda evidence: [
        verdict.detected[keep]
        for (_, _, verdict), keep in zip(evidence.confident, counted, strict=True)
    ]
    labels = [truth.labels[keep] for (_, truth, _), keep in zip(a.confident, counted, strict=True)]
    return Found(of(a), of(b), labels)


def names(a: Evidence, b: Evidence) -> tuple[str, str]:
    """What the two are called: the names of their folders, or their paths if these are equal."""
    short = [each.workdir.resolve().name for each in (a, b)]
    return tuple(short) if short[0] != short[1] else (str(a.workdir), str(b.workdir))


def render(a: Evidence, b: Evidence) -> str:
    """The whole page as HTML. Both must be evaluated on the same images."""
    both = found(a, b)
    sections = [
        ("Summary", summary(a, b, both)),
        ("Classes", classes(a, b, both)),
        *(
            (f"Only {name} finds", only(a, b, both, first=first))
            for first, name in zip((True, False), names(a, b), strict=True)
        ),
    ]
    title = f"{' and '.join(names(a, b))} on {a.recipe.data.eval}"
    return markup.page(title, "jaxdet comparison", sections)


def summary(a: Evidence, b: Evidence, both: Found) -> str:
    """How many objects both, one and neither find, and the numbers of both side by side."""
    names_, counts = names(a, b), both.counts()
    total = max(sum(counts), 1)
    what = ("both find", f"only {names_[0]} finds", f"only {names_[1]} finds", "neither finds")
    shown = [
        (name, f"{count:,}", f"{markup.percent(count / total)} % of {total:,} objects")
        for name, count in zip(what, counts, strict=True)
    ]
    text = (
        f"The same {len(a.dataset):,} images for both. An object is found if a detection of its "
        "class overlaps it with IoU of at least 0.5 and scores at least as much as the detector's "
        f"own threshold, the one with the best F1: {a.threshold['score']:.3f} for {names_[0]}, "
        f"{b.threshold['score']:.3f} for {names_[1]}."
    )
    intervals = _intervals(a, b)
    rows = [
        [name, *map(markup.percent, values), _difference(*values, intervals.get(name))]
        for name, *values in _numbers(a, b)
    ]
    wrong = (f"{_wrong(each):,}" for each in (a, b))
    rows.append(["wrong detections at the threshold, number", *wrong, ""])
    parameters = (f"{facts.parameters(each.recipe):,}" for each in (a, b))
    rows.append(["parameters, number", *parameters, ""])
    rows.append(["protocol", *(evaluate.protocol(each.recipe) for each in (a, b)), ""])
    table = markup.table(["in percent", *names_, "difference [95 %]"], rows)
    note = (
        "In brackets, the interval of 95 % of the difference for other images like these, from a "
        "thousand draws of as many of them with replacement, the same for both; one without 0 says "
        "which of the two is better. Another training of either would differ, too."
    )
    return markup.tiles(shown) + markup.paragraph(text) + table + markup.paragraph(note, "note")


def _intervals(a: Evidence, b: Evidence) -> dict[str, tuple[float, float]]:
    """The intervals of the differences between the numbers of the metric, if both have the same."""
    metric, dataset = a.recipe.evaluation.metric, a.dataset
    if metric is not b.recipe.evaluation.metric:
        return {}
    given = b.detections, dataset.annotations(), dataset.classes
    return metric.bootstrap(*given, other=a.detections)


def _difference(a: float | None, b: float | None, interval: tuple[float, float] | None) -> str:
    if a is None or b is None:
        return ""
    said = f"{100 * (b - a):+.1f}"
    return (
        f"{said} {markup.interval(*(f'{100 * end:+.1f}' for end in interval))}"
        if interval
        else said
    )


def _numbers(a: Evidence, b: Evidence) -> list[tuple[str, float | None, float | None]]:
    """Values that both have, computed in the same way for both."""
    rows = []
    if a.recipe.evaluation.metric is b.recipe.evaluation.metric:
        ours, theirs = (evaluate.numbers(each.result) for each in (a, b))
        rows = [(name, ours[name], theirs[name]) for name in ours if ours[name] > -0.5]
    if not any(name == "mAP_area" for name, *_ in rows):
        rows.append(("AP50, area", a.voc["mAP_area"], b.voc["mAP_area"]))
    for name, key in (
        ("best F1", "f1"),
        ("precision there", "precision"),
        ("recall there", "recall"),
    ):
        rows.append((name, a.threshold[key], b.threshold[key]))
    return rows


def _wrong(evidence: Evidence) -> int:
    return sum(
        int(np.isin(verdict.kinds, errors.KINDS).sum()) for _, _, verdict in evidence.confident
    )


def classes(a: Evidence, b: Evidence, both: Found) -> str:
    """AP of both and the objects that one finds, by class."""
    one, other = names(a, b)
    rows = []
    for label, name in enumerate(a.dataset.classes):
        counts = both.counts(label)
        if not sum(counts):
            continue
        averages = [each.voc["classes"][name]["ap_area"] for each in (a, b)]
        gain = f"{100 * (averages[1] - averages[0]):+.1f}"
        shown = [markup.dotted(name, label), f"{sum(counts):,}"]
        rows.append([*shown, *map(markup.percent, averages), gain, *(f"{n:,}" for n in counts)])
    header = ["class", "objects", f"AP50 {one}", f"AP50 {other}", "difference"]
    header += ["both find", f"only {one}", f"only {other}", "neither"]
    text = "AP50 is the area under the precision-recall curve, in percent. Click a name to sort."
    return markup.paragraph(text) + markup.table(header, rows, css="sortable", safe=(0,))


def only(a: Evidence, b: Evidence, both: Found, *, first: bool) -> str:
    """The images with the most objects that only one of the two finds, seen by both."""
    here, there = (both.a, both.b) if first else (both.b, both.a)
    alone = np.array([int((x & ~y).sum()) for x, y in zip(here, there, strict=True)])
    lost = np.array([int((~x & y).sum()) for x, y in zip(here, there, strict=True)])
    order = [int(i) for i in np.lexsort((lost, -alone)) if alone[i]]
    name = names(a, b)[0 if first else 1]
    text = (
        f"{int(alone.sum()):,} objects in {len(order):,} images; those with the most come first. "
        "Each image is shown twice; enlarged, the arrow keys change between the two."
    )
    figures = [
        gallery.figure(each, i, gallery.all_marks(each, i), _caption(each_name, alone[i], name))
        for i in order[:MAX_PAIRS]
        for each, each_name in zip((a, b), names(a, b), strict=True)
    ]
    shown = gallery.gallery(figures).replace('class="gallery"', 'class="gallery pairs"')
    return markup.paragraph(text) + gallery.key("right", "wrong", "missed") + shown


def _caption(shown: str, count: int, finder: str) -> str:
    return f"{shown}; {finder} alone finds {count}"
