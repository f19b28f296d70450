"""Pictures of a report: small JPEGs inside the page, the boxes drawn over them as SVG."""

import base64
import html
from collections.abc import Sequence

import cv2
import numpy as np

from jaxdet.metrics import errors
from jaxdet.report import numbers
from jaxdet.report.evidence import Evidence

SIDE, QUALITY = 320, 80  # of a picture in the page: its longer side in pixels, its JPEG quality
WHOLE, CLOSE = 8, 12  # how many whole pictures, and how many single boxes, a gallery shows

Mark = tuple[str, np.ndarray, str]  # a css class, a box xyxy in pixels, a text


def best_and_worst(evidence: Evidence) -> tuple[str, str]:
    """The pictures with the best and the worst F1 at the report's threshold, of many objects."""
    f1 = [numbers.image_f1(picture) for picture in evidence.confident]
    objects = [int((~truth.difficult).sum()) for _, truth, _ in evidence.confident]
    order = sorted(range(len(f1)), key=lambda i: (-f1[i], -objects[i]))
    worst = sorted((i for i in order if f1[i] < 1), key=lambda i: (f1[i], -objects[i]))
    show = lambda i: _figure(evidence, i, all_marks(evidence, i), f"F1 {100 * f1[i]:.0f} %")
    return _gallery(map(show, order[:WHOLE])), _gallery(map(show, worst[:WHOLE]))


def confident_mistakes(evidence: Evidence) -> str:
    """The wrong detections with the highest scores, each with the object that it is about."""
    wrong = [
        (float(found.scores[j]), i, j)
        for i, (found, _, verdict) in enumerate(evidence.images)
        for j in np.flatnonzero(np.isin(verdict.kinds, errors.KINDS))
    ]
    wrong = sorted(wrong, key=lambda each: -each[0])[:CLOSE]
    return _gallery(_mistake(evidence, i, j) for _, i, j in wrong)


def _mistake(evidence: Evidence, i: int, j: int) -> str:
    (found, truth, verdict), classes = evidence.images[i], evidence.dataset.classes
    name, about = f"{classes[found.labels[j]]} {found.scores[j]:.2f}", verdict.objects[j]
    marks, caption = [("wrong", found.boxes[j], name)], str(verdict.kinds[j])
    if about >= 0:
        marks.insert(0, ("object", truth.boxes[about] * _size(truth), ""))
        caption += f", is {classes[truth.labels[about]]}"
    return _figure(evidence, i, marks, caption)


def missed_objects(evidence: Evidence) -> str:
    """The largest objects that nothing at the report's threshold comes near."""
    missed = [
        (float(truth.area[n]), i, n)
        for i, (_, truth, verdict) in enumerate(evidence.confident)
        for n in np.flatnonzero(verdict.missed)
    ]
    missed = sorted(missed, key=lambda each: -each[0])[:CLOSE]
    return _gallery(_missed(evidence, i, n) for _, i, n in missed)


def _missed(evidence: Evidence, i: int, n: int) -> str:
    _, truth, _ = evidence.confident[i]
    name, box = evidence.dataset.classes[truth.labels[n]], truth.boxes[n] * _size(truth)
    width, height = box[2:] - box[:2]
    caption = f"{name}, {width:.0f} x {height:.0f} pixels"
    return _figure(evidence, i, [("missed", box, name)], caption)


def all_marks(evidence: Evidence, i: int) -> list[Mark]:
    """Objects not found, then detections right and wrong, of picture i at the threshold."""
    (found, truth, verdict), classes = evidence.confident[i], evidence.dataset.classes
    unseen = ~verdict.found & ~truth.difficult
    boxes = truth.boxes * _size(truth)
    marks = [("missed", boxes[n], classes[truth.labels[n]]) for n in np.flatnonzero(unseen)]
    for box, score, label, kind in zip(
        found.boxes, found.scores, found.labels, verdict.kinds, strict=True
    ):
        css = kind if kind in (errors.RIGHT, errors.IGNORED) else "wrong"
        marks.append((css, box, f"{classes[label]} {score:.2f}"))
    return marks


def _figure(evidence: Evidence, i: int, marks: Sequence[Mark], caption: str) -> str:
    image = evidence.dataset.image(i)
    scale = min(1.0, SIDE / max(image.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    stretch = np.array([width / image.shape[1], height / image.shape[0]] * 2)
    drawn = "".join(_mark(css, box * stretch, text, width) for css, box, text in marks)
    name = html.escape(str(evidence.dataset.ids[i]))
    return (
        f'<figure><svg class="picture" viewBox="0 0 {width} {height}" width="{width}">'
        f'<image width="{width}" height="{height}" href="{_data_uri(small)}"/>{drawn}</svg>'
        f"<figcaption>{html.escape(caption)} <span>{name}</span></figcaption></figure>"
    )


def _mark(css: str, box: np.ndarray, text: str, width: int) -> str:
    x1, y1, x2, y2 = box.tolist()
    near_the_right = x1 > 0.6 * width  # the text ends at the box, or it would be cut
    at = (
        f'x="{min(x2, width) - 2:.1f}" text-anchor="end"' if near_the_right else f'x="{x1 + 2:.1f}"'
    )
    top = y1 - 3 if y1 > 14 else max(y1, 0) + 11
    return (
        f'<g class="{css}"><rect x="{x1:.1f}" y="{y1:.1f}" width="{x2 - x1:.1f}" '
        f'height="{y2 - y1:.1f}"/><text {at} y="{top:.1f}">{html.escape(text)}</text></g>'
    )


def _data_uri(image: np.ndarray) -> str:
    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    encoded = cv2.imencode(".jpg", image[..., ::-1], options)[1]
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()


def _gallery(figures) -> str:
    return f'<div class="gallery">{"".join(figures) or "<p>None.</p>"}</div>'


def _size(truth) -> np.ndarray:
    return np.array([truth.width, truth.height] * 2)
