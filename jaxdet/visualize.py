"""Draws images to look at: labelled boxes, contact sheets, training batches.

Images are uint8 RGB [H, W, 3]. Text is drawn with the outline font that comes with OpenCV 5, so
names may be in Latin, Greek, Cyrillic, Arabic, Chinese, Japanese or Korean.
"""

import colorsys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from etils import epath

from jaxdet import types

_FONT = "sans"
_FONT_WEIGHT = 500
_BACKGROUND = 32  # grey between the images of a sheet
GAP = 4  # pixels between them
_ANCHOR_COLOUR = (255, 255, 0)
_LUMA = np.array([0.299, 0.587, 0.114])  # how bright red, green and blue look, by BT.601


def draw_boxes(
    image: np.ndarray,
    boxes_pixels: np.ndarray,
    labels: np.ndarray,
    *,
    classes: tuple[str, ...],
    scores: np.ndarray | None = None,
) -> np.ndarray:
    """Draws boxes [m, 4] with their class names, and scores [m] if given, on a copy of `image`.

    The best score is drawn last, and labels over all boxes, placed by `place_labels`. Boxes are
    clipped to the image.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"the image is {image.dtype} {image.shape}, expected uint8 [H, W, 3]")
    image = np.array(image, order="C")
    shorter = min(image.shape[:2])
    order = np.arange(len(boxes_pixels)) if scores is None else np.argsort(scores, kind="stable")
    boxes_pixels = np.asarray(boxes_pixels, float).reshape(-1, 4)[order]
    colours = [class_colour(int(labels[i])) for i in order]
    texts = [label_text(classes[labels[i]], None if scores is None else scores[i]) for i in order]
    for box, colour in zip(boxes_pixels, colours, strict=True):
        _outline(image, box, colour, thickness=max(1, round(shorter / 200)))
    places = place_labels(boxes_pixels[::-1], texts[::-1], image.shape[1::-1])[::-1]
    for text, place, colour in zip(texts, places, colours, strict=True):
        if not np.isnan(place).any():
            _draw_label(image, text, place.astype(int), colour)
    return image


def label_text(name: str, score: float | None = None) -> str:
    """What a label says: the class name, and the score with two decimals."""
    return name if score is None else f"{name} {score:.2f}"


def place_labels(
    boxes_pixels: np.ndarray,
    texts: Sequence[str],
    size: tuple[int, int],
    *,
    text_height: int | None = None,
    avoid: np.ndarray | None = None,
) -> np.ndarray:
    """Where labels of boxes [m, 4] go in an image of `size` (width, height): x1 y1 x2 y2 [m, 4].

    No label covers another one, and all lie inside the image. The first box chooses first: above
    its top left corner, else inside it, else the nearest free place that touches the box. A label
    for which there is none is nan: its box is drawn without a name. `text_height` is in pixels;
    the default follows the size of the image. `avoid` [n, 4] are rectangles to leave free.
    """
    avoid = np.zeros((0, 4)) if avoid is None else avoid
    limits = np.array([*size, *size], float)
    places = np.full((len(texts), 4), np.nan)
    for i, (box, text) in enumerate(zip(np.asarray(boxes_pixels), texts, strict=True)):
        box = np.clip(box, 0, limits - 1)
        extent = _label_size(text, size, text_height or _text_height(size))[:2]
        candidates = _label_places(np.round(box), np.array(extent), limits)
        free = ~_covered(candidates, np.concatenate([avoid, places[:i]])).any(axis=1)
        if free.any():
            places[i] = candidates[free.argmax()]
    return places


def _label_places(box: np.ndarray, extent: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """The places [n, 4] for a label that touch a box and are inside the image, the best first."""
    room = np.maximum(limits[:2] - extent, 0)
    first = np.array([[box[0], box[1] - extent[1]], box[:2]])
    across = np.append(np.arange(box[0] - extent[0], box[2], max(1, extent[0] // 3)), box[2])
    down = np.append(np.arange(box[1] - extent[1], box[3], max(1, extent[1] // 2)), box[3])
    others = np.stack(np.meshgrid(across, down), axis=-1).reshape(-1, 2)
    others = others[np.argsort(np.abs(others - first[0]).sum(axis=1), kind="stable")]
    corners = np.concatenate([first, others])
    corners[:, 0] = np.clip(corners[:, 0], 0, room[0])  # a label may begin left of its box
    corners = corners[(corners[:, 1] >= 0) & (corners[:, 1] <= room[1])]
    corners = np.concatenate([corners, np.minimum(box[:2], room)[None]])
    return np.concatenate([corners, corners + extent], axis=1)


def _covered(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Which rectangles [n, 4] and [m, 4] have pixels in common: [n, m]; none with nan."""
    return (np.minimum(a[:, None, 2:], b[:, 2:]) > np.maximum(a[:, None, :2], b[:, :2])).all(-1)


def class_colour(label: int) -> tuple[int, int, int]:
    """The RGB colour of a class: the same in every image, and unlike those of its neighbours.

    None is so light or so dark that it could not be seen on white or on black.
    """
    hue = 0.61803398875 * label % 1  # multiples of the golden ratio never repeat a hue
    value = (1.0, 0.75)[label // 8 % 2]
    rgb = np.array(colorsys.hsv_to_rgb(hue, (0.85, 0.55)[label // 16 % 2], value))
    luma = rgb @ _LUMA
    rgb = rgb * min(1.0, 0.66 / luma)
    rgb = rgb + (1 - rgb) * max(0.0, (0.36 - luma) / (1 - luma))
    red, green, blue = np.round(255 * rgb).astype(int).tolist()
    return red, green, blue


def css(colour: tuple[int, int, int]) -> str:
    """A colour as a web page writes it, "#rrggbb"."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def ink(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """Black or white, whichever can be read on `colour`."""
    dark = np.dot(colour, _LUMA) < 128
    return (255, 255, 255) if dark else (0, 0, 0)


def sheet(images: Sequence[np.ndarray], *, columns: int, cell: int = 320) -> np.ndarray:
    """A contact sheet: images row by row, each resized to fit a square of `cell` pixels.

    Labels shrink with their image: draw them after `fit(image, cell - GAP)`, as `detections_sheet`
    and `batch_sheet` do.
    """
    if not len(images):
        raise ValueError("no images for the sheet, expected at least one")
    rows = -(-len(images) // columns)
    page = np.full((rows * cell, columns * cell, 3), _BACKGROUND, np.uint8)
    for index, image in enumerate(images):
        fitted = fit(image, cell - GAP)
        height, width = fitted.shape[:2]
        top = index // columns * cell + (cell - height) // 2
        left = index % columns * cell + (cell - width) // 2
        page[top : top + height, left : left + width] = fitted
    return page


def detections_sheet(
    images: Sequence[np.ndarray],
    detections: Sequence[types.ImageDetections],
    *,
    classes: tuple[str, ...],
    columns: int = 4,
    cell: int = 320,
) -> np.ndarray:
    """A contact sheet of images with their detections, boxes in pixels of each image."""
    drawn = []
    for image, each in zip(images, detections, strict=True):
        small = fit(image, cell - GAP)
        height, width = np.divide(small.shape[:2], image.shape[:2])
        boxes = each.boxes * np.array([width, height] * 2)
        drawn.append(draw_boxes(small, boxes, each.labels, classes=classes, scores=each.scores))
    return sheet(drawn, columns=columns, cell=cell)


def batch_sheet(
    images: np.ndarray,
    objects: types.Objects,
    anchors: types.Anchors,
    positive: np.ndarray,
    *,
    classes: tuple[str, ...],
    columns: int = 4,
    cell: int = 320,
) -> np.ndarray:
    """A training batch as the network sees it: images [B, S, S, 3] in 0..255, objects [B, N].

    The anchors [A] that are `positive` [B, A] are thin yellow boxes beneath the objects.
    """
    pixels = np.clip(np.round(np.asarray(images)), 0, 255).astype(np.uint8)
    centres, sides = np.split(np.asarray(anchors.boxes), 2, axis=-1)
    anchor_boxes = np.concatenate([centres - sides / 2, centres + sides / 2], axis=-1)  # [A, 4]
    drawn = []
    for index, each in enumerate(pixels):
        image = fit(each, cell - GAP)
        size = np.array([image.shape[1], image.shape[0]] * 2)
        for box in anchor_boxes[np.asarray(positive[index])]:
            _outline(image, box * size, _ANCHOR_COLOUR, thickness=1)
        mask = np.asarray(objects.mask[index])
        boxes = np.asarray(objects.boxes[index])[mask] * size
        labels = np.asarray(objects.labels[index])[mask]
        drawn.append(draw_boxes(image, boxes, labels, classes=classes))
    return sheet(drawn, columns=columns, cell=cell)


def shape_chart(sides: np.ndarray, shapes: np.ndarray, *, side: int) -> np.ndarray:
    """A chart of box width against height: `sides` [n, 2] as dots, `shapes` [k, 2] outlined.

    Both axes run from 0 to `side`, in the unit of the sides. RGB [H, W, 3].
    """
    extent, margin = 640, 40
    chart = np.full((extent + 2 * margin,) * 2 + (3,), 255, np.uint8)
    place = lambda width, height: (
        margin + round(extent * width / side),
        margin + round(extent * (1 - height / side)),
    )
    sample = sides[np.random.default_rng(0).permutation(len(sides))[:20_000]]
    for width, height in sample:
        cv2.circle(chart, place(width, height), 1, (150, 180, 220), -1, cv2.LINE_AA)
    cv2.rectangle(chart, place(0, 0), place(side, side), (0, 0, 0), 1)
    for width, height in shapes:
        cv2.rectangle(chart, place(0, 0), place(width, height), (220, 80, 40), 1)
        cv2.circle(chart, place(width, height), 5, (200, 30, 30), -1, cv2.LINE_AA)
        _write(chart, f"{width:.0f} x {height:.0f}", place(width, height))
    _write(chart, f"width 0 to {side} pixels", (margin, extent + 2 * margin - 14))
    _write(chart, f"height 0 to {side} pixels", (margin, margin - 14))
    return chart


def _write(chart: np.ndarray, text: str, at: tuple[int, int]) -> None:
    x, y = at
    cv2.putText(
        chart, text, (x + 6, y - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA
    )


def save_png(path: str | Path, image: np.ndarray) -> None:
    """Writes an image as PNG, and creates its folder if necessary; `path` may be gs://..."""
    encoded = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
    path = epath.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded)  # not cv2.imwrite: on Windows it takes only ASCII paths


def fit(image: np.ndarray, side: int) -> np.ndarray:
    """A copy resized so that its longer side is `side`."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def _outline(
    image: np.ndarray, box: np.ndarray, colour: tuple[int, int, int], *, thickness: int
) -> None:
    """Draws a box in pixels on `image`."""
    height, width = image.shape[:2]
    limits = np.array([width - 1, height - 1] * 2)
    x1, y1, x2, y2 = (int(side) for side in np.clip(np.round(box), 0, limits))
    cv2.rectangle(image, (x1, y1), (x2, y2), colour, thickness)


def _text_height(size: tuple[int, int]) -> int:
    return max(11, round(min(size) / 28))


def _label_size(text: str, size: tuple[int, int], height: int) -> tuple[int, int, int, int]:
    """Width and height of a label with its margins, its text size, and where its base line is.

    The text is smaller than `height` if a long name would not fit into the image.
    """
    margin = max(1, height // 6)
    extent = cv2.getTextSize((0, 0), text, (0, 0), cv2.FontFace(_FONT), height, _FONT_WEIGHT)
    if extent[2] + 2 * margin > size[0]:
        height = max(1, height * (size[0] - 2 * margin) // extent[2])
        extent = cv2.getTextSize((0, 0), text, (0, 0), cv2.FontFace(_FONT), height, _FONT_WEIGHT)
    _, ascent, width, tall = extent  # of the text at (0, 0): ascent is negative
    return width + 2 * margin, tall + 2 * margin, height, margin - ascent


def _draw_label(
    image: np.ndarray, text: str, place: np.ndarray, colour: tuple[int, int, int]
) -> None:
    """Draws text on a background of `colour`, at a place that `place_labels` found."""
    size = image.shape[1::-1]
    _, _, height, base = _label_size(text, size, _text_height(size))
    x1, y1, x2, y2 = place.tolist()
    cv2.rectangle(image, (x1, y1), (x2 - 1, y2 - 1), colour, cv2.FILLED)
    at = (x1 + max(1, _text_height(size) // 6), y1 + base)
    cv2.putText(image, text, at, ink(colour), cv2.FontFace(_FONT), height, _FONT_WEIGHT)
