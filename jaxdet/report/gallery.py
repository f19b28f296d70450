"""The image galleries of a report: embedded JPEGs, with boxes and labels drawn over them as SVG.

A box is drawn in the colour of its verdict, the dot of its label in the colour of its class.
"""

import base64
import html
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from jaxdet import visualize
from jaxdet.metrics import errors
from jaxdet.report import numbers
from jaxdet.report.evidence import Evidence

SIDE, QUALITY = 640, 80  # of an image in the page: longer side in its own units, JPEG quality
MAX_IMAGES, MAX_BOXES = 9, 12  # figures in a gallery of whole images, of single boxes
_TEXT = 18  # height of a label's letters, in the same units


class Mark(NamedTuple):
    """A box to draw: its verdict, xyxy in pixels, and the label's text and class, if it has one."""

    css: str
    box: np.ndarray
    text: str = ""
    label: int = -1


KEY = {"right": "correct", "wrong": "wrong", "missed": "not detected", "ignored": "not counted"}


def best_and_worst(evidence: Evidence) -> tuple[str, str]:
    """Galleries of the images with the best and the worst F1 at the report's threshold.

    Of images with equal F1, those with more objects come first.
    """
    f1 = [numbers.image_f1(image) for image in evidence.confident]
    objects = [int((~truth.difficult).sum()) for _, truth, _ in evidence.confident]
    order = sorted(range(len(f1)), key=lambda i: (-f1[i], -objects[i]))
    worst = sorted((i for i in order if f1[i] < 1), key=lambda i: (f1[i], -objects[i]))
    show = lambda i: figure(evidence, i, all_marks(evidence, i), f"F1 {100 * f1[i]:.0f} %")
    return gallery(map(show, order[:MAX_IMAGES])), gallery(map(show, worst[:MAX_IMAGES]))


def confident_mistakes(evidence: Evidence) -> str:
    """A gallery of the highest-scoring wrong detections, each with the object it concerns."""
    wrong = [
        (float(detections.scores[j]), i, j)
        for i, (detections, _, verdict) in enumerate(evidence.images)
        for j in np.flatnonzero(np.isin(verdict.kinds, errors.KINDS))
    ]
    wrong = sorted(wrong, key=lambda each: -each[0])[:MAX_BOXES]
    return gallery(_mistake(evidence, i, j) for _, i, j in wrong)


def _mistake(evidence: Evidence, i: int, j: int) -> str:
    (detections, truth, verdict), classes = evidence.images[i], evidence.dataset.classes
    label = int(detections.labels[j])
    name = visualize.label_text(classes[label], detections.scores[j])
    marks, caption = [Mark("wrong", detections.boxes[j], name, label)], str(verdict.kinds[j])
    index = verdict.objects[j]
    if index >= 0:
        own, box = int(truth.labels[index]), truth.boxes[index] * _size(truth)
        marks.append(Mark("object", box, classes[own] if own != label else "", own))
        caption += f"; ground truth: {classes[own]}"
    return figure(evidence, i, marks, caption)


def missed_objects(evidence: Evidence) -> str:
    """A gallery of the largest objects that are missed at the report's threshold."""
    missed = [
        (float(truth.area[n]), i, n)
        for i, (_, truth, verdict) in enumerate(evidence.confident)
        for n in np.flatnonzero(verdict.missed)
    ]
    missed = sorted(missed, key=lambda each: -each[0])[:MAX_BOXES]
    return gallery(_missed(evidence, i, n) for _, i, n in missed)


def _missed(evidence: Evidence, i: int, n: int) -> str:
    _, truth, _ = evidence.confident[i]
    label, box = int(truth.labels[n]), truth.boxes[n] * _size(truth)
    name, (width, height) = evidence.dataset.classes[label], box[2:] - box[:2]
    caption = f"{name}, {width:.0f} x {height:.0f} pixels"
    return figure(evidence, i, [Mark("missed", box, name, label)], caption)


def all_marks(evidence: Evidence, i: int) -> list[Mark]:
    """The detections of image i, the best first, then its undetected objects, at the threshold."""
    (detections, truth, verdict), classes = evidence.confident[i], evidence.dataset.classes
    marks = []
    for j in np.argsort(-detections.scores, kind="stable"):
        kind, label = str(verdict.kinds[j]), int(detections.labels[j])
        css = kind if kind in (errors.RIGHT, errors.IGNORED) else "wrong"
        text = visualize.label_text(classes[label], detections.scores[j])
        marks.append(Mark(css, detections.boxes[j], text, label))
    for n in np.flatnonzero(~verdict.detected & ~truth.difficult):
        label, box = int(truth.labels[n]), truth.boxes[n] * _size(truth)
        marks.append(Mark("missed", box, classes[label], label))
    return marks


def figure(evidence: Evidence, i: int, marks: Sequence[Mark], caption: str) -> str:
    """Image i with marks, whose labels do not cover one another; the page enlarges it."""
    image = evidence.dataset.image(i)
    scale = SIDE / max(image.shape[:2])
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    boxes = np.array([mark.box for mark in marks], float).reshape(-1, 4)
    boxes = boxes * np.array([width / image.shape[1], height / image.shape[0]] * 2)
    named = [k for k, mark in enumerate(marks) if mark.text]
    texts = [f"● {marks[k].text}" for k in named]
    places = visualize.place_labels(boxes[named], texts, (width, height), text_height=_TEXT)
    drawn = [_box(mark.css, box) for mark, box in reversed(list(zip(marks, boxes, strict=True)))]
    for k, place in zip(named, places, strict=True):
        drawn += [_label(marks[k], place)] if not np.isnan(place).any() else []
    name = html.escape(str(evidence.dataset.ids[i]))
    return (
        f'<figure class="photo"><button><svg class="picture" viewBox="0 0 {width} {height}">'
        f'<image width="{width}" height="{height}" href="{_data_uri(image)}"/>{"".join(drawn)}'
        f"</svg></button><figcaption>{html.escape(caption)} <span>{name}</span></figcaption>"
        "</figure>"
    )


def _box(css: str, box: np.ndarray) -> str:
    x1, y1, x2, y2 = box.tolist()
    return (
        f'<rect class="{css}" x="{x1:.1f}" y="{y1:.1f}" width="{x2 - x1:.1f}" '
        f'height="{y2 - y1:.1f}"/>'
    )


def _label(mark: Mark, place: np.ndarray) -> str:
    x1, y1, x2, y2 = place.tolist()
    colour, middle, radius = visualize.css(visualize.class_colour(mark.label)), (y1 + y2) / 2, 4.5
    left = x1 + 3 * radius + 3
    return (
        f'<g class="label {mark.css}"><rect x="{x1:.0f}" y="{y1:.0f}" width="{x2 - x1:.0f}" '
        f'height="{y2 - y1:.0f}" rx="3"/><circle cx="{x1 + 2 * radius:.1f}" cy="{middle:.1f}" '
        f'r="{radius}" fill="{colour}"/><text x="{left:.1f}" y="{middle + 0.35 * _TEXT:.1f}" '
        f'textLength="{x2 - left - 5:.1f}" lengthAdjust="spacingAndGlyphs">'
        f"{html.escape(mark.text)}</text></g>"
    )


def _data_uri(image: np.ndarray) -> str:
    scale = min(1.0, SIDE / max(image.shape[:2]))
    size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    encoded = cv2.imencode(".jpg", small[..., ::-1], options)[1]
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()


def gallery(figures: Iterable[str]) -> str:
    """Figures in rows, or a sentence where there are none."""
    shown = "".join(figures)
    return f'<div class="gallery">{shown}</div>' if shown else "<p>None.</p>"


def key(*kinds: str) -> str:
    """What the colours of boxes mean."""
    each = "".join(f'<span class="{kind}">{KEY[kind]}</span>' for kind in kinds)
    return f'<p class="key">{each}</p>'


def _size(truth) -> np.ndarray:
    return np.array([truth.width, truth.height] * 2)
