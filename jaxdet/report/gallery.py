"""The image galleries of a report: small embedded JPEGs, with boxes drawn over them as SVG."""

import base64
import html
from collections.abc import Sequence

import cv2
import numpy as np

from jaxdet.metrics import errors
from jaxdet.report import numbers
from jaxdet.report.evidence import Evidence

SIDE, QUALITY = 320, 80  # of an image in the page: longer side in pixels, JPEG quality
MAX_IMAGES, MAX_BOXES = 8, 12  # figures in a gallery of whole images, of single boxes

Mark = tuple[str, np.ndarray, str]  # CSS class, xyxy box in pixels, text


def best_and_worst(evidence: Evidence) -> tuple[str, str]:
    """Galleries of the images with the best and the worst F1 at the report's threshold.

    Of images with equal F1, those with more objects come first.
    """
    f1 = [numbers.image_f1(image) for image in evidence.confident]
    objects = [int((~truth.difficult).sum()) for _, truth, _ in evidence.confident]
    order = sorted(range(len(f1)), key=lambda i: (-f1[i], -objects[i]))
    worst = sorted((i for i in order if f1[i] < 1), key=lambda i: (f1[i], -objects[i]))
    show = lambda i: _figure(evidence, i, all_marks(evidence, i), f"F1 {100 * f1[i]:.0f} %")
    return _gallery(map(show, order[:MAX_IMAGES])), _gallery(map(show, worst[:MAX_IMAGES]))


def confident_mistakes(evidence: Evidence) -> str:
    """A gallery of the highest-scoring wrong detections, each with the object it concerns."""
    wrong = [
        (float(detections.scores[j]), i, j)
        for i, (detections, _, verdict) in enumerate(evidence.images)
        for j in np.flatnonzero(np.isin(verdict.kinds, errors.KINDS))
    ]
    wrong = sorted(wrong, key=lambda each: -each[0])[:MAX_BOXES]
    return _gallery(_mistake(evidence, i, j) for _, i, j in wrong)


def _mistake(evidence: Evidence, i: int, j: int) -> str:
    (detections, truth, verdict), classes = evidence.images[i], evidence.dataset.classes
    name = f"{classes[detections.labels[j]]} {detections.scores[j]:.2f}"
    marks, caption = [("wrong", detections.boxes[j], name)], str(verdict.kinds[j])
    index = verdict.objects[j]
    if index >= 0:
        marks.insert(0, ("object", truth.boxes[index] * _size(truth), ""))
        caption += f"; ground truth: {classes[truth.labels[index]]}"
    return _figure(evidence, i, marks, caption)


def missed_objects(evidence: Evidence) -> str:
    """A gallery of the largest objects that are missed at the report's threshold."""
    missed = [
        (float(truth.area[n]), i, n)
        for i, (_, truth, verdict) in enumerate(evidence.confident)
        for n in np.flatnonzero(verdict.missed)
    ]
    missed = sorted(missed, key=lambda each: -each[0])[:MAX_BOXES]
    return _gallery(_missed(evidence, i, n) for _, i, n in missed)


def _missed(evidence: Evidence, i: int, n: int) -> str:
    _, truth, _ = evidence.confident[i]
    name, box = evidence.dataset.classes[truth.labels[n]], truth.boxes[n] * _size(truth)
    width, height = box[2:] - box[:2]
    caption = f"{name}, {width:.0f} x {height:.0f} pixels"
    return _figure(evidence, i, [("missed", box, name)], caption)


def all_marks(evidence: Evidence, i: int) -> list[Mark]:
    """The undetected objects of image i, then its detections, all at the report's threshold."""
    (detections, truth, verdict), classes = evidence.confident[i], evidence.dataset.classes
    undetected = ~verdict.detected & ~truth.difficult
    boxes = truth.boxes * _size(truth)
    marks = [("missed", boxes[n], classes[truth.labels[n]]) for n in np.flatnonzero(undetected)]
    for box, score, label, kind in zip(
        detections.boxes, detections.scores, detections.labels, verdict.kinds, strict=True
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
    near_the_right = x1 > 0.6 * width  # right-aligned, or the text would be cut off
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
