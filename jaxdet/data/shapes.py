"""A generated dataset that needs no download: coloured shapes on textured backgrounds.

`shapes_train` and `shapes_val`. Every image depends only on its split and index. A change to what
is drawn needs a new `builder.VERSION`, or old records would be taken for new ones.
"""

import functools
import pathlib
import re

import cv2
import grain
import numpy as np

from jaxdet.data.check import Example
from jaxdet.data.source import Source

CLASSES = ("disc", "ring", "square", "triangle", "cross")
NAMES = "shapes_(train|val)"

_SPLITS = {"train": (0, 1000), "val": (1, 200)}  # seed and number of images
_TRIES = 30  # attempts to place an object
_MOST_COVERED = 0.35  # fraction of an object that others may hide
_SHIFT = 4  # fractional bits of the coordinates given to OpenCV

Outline = list[np.ndarray]  # contours [n, 2] x y in pixels; a second one is a hole


def find(name: str, root: pathlib.Path | None) -> list[Source] | None:
    """Return the source of a shapes split; None if the name is not a shapes name."""
    match = re.fullmatch(r"shapes_(train|val)", name)
    if not match:
        return None
    seed, count = _SPLITS[match[1]]
    numbers = grain.MapDataset.range(count)
    examples = numbers.map(functools.partial(_example, split=match[1], seed=seed))
    return [Source(name, {"root": "generated"}, lambda downloads: (CLASSES, examples))]


def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Draw an image [H, W, 3] uint8 RGB, with boxes in pixels [n, 4] xyxy and n labels.

    Objects overlap, but none is more than 35 % hidden, and all are annotated.
    """
    height, width = rng.integers(200, 281), rng.integers(260, 361)
    image = _background(rng, height, width)
    boxes, labels, whole = [], [], []
    seen = np.full((height, width), -1, np.int8)  # the index of the object that each pixel shows
    for _ in range(rng.integers(1, 8)):
        label = int(rng.integers(len(CLASSES)))
        placed = _place(rng, CLASSES[label], seen, whole)
        if placed is None:
            continue
        cover, window, box = placed
        _paint(rng, image[window], cover)
        seen[window][cover > 0.5] = len(whole)
        whole.append(np.count_nonzero(cover > 0.5))
        boxes.append(box)
        labels.append(label)
    return image.clip(0, 255).astype(np.uint8), np.array(boxes), labels


def _example(i: int, *, split: str, seed: int) -> Example:
    image, boxes_pixels, labels = draw(np.random.default_rng([seed, i]))
    height, width = image.shape[:2]
    _, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    return Example(
        id=f"{split}_{i:05d}",
        file=f"{split}_{i:05d}",
        encoded=encoded.tobytes(),
        size=(height, width),
        boxes=boxes_pixels.reshape(-1, 4) / [width, height, width, height],
        names=[CLASSES[label] for label in labels],
        difficult=np.zeros(len(labels), bool),
        crowd=np.zeros(len(labels), bool),
        area=np.full(len(labels), np.nan),
    )


def _background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw a smooth colour field with stripes or checks and noise on it, [H, W, 3] float32."""
    coarse = rng.normal(rng.uniform(50, 205, 3), 22, (rng.integers(2, 7), rng.integers(2, 9), 3))
    image = cv2.resize(coarse.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    y, x = np.ogrid[:height, :width]
    angle, frequency = rng.uniform(0, np.pi), 2 * np.pi / rng.uniform(6, 40)
    cos, sin = np.float32(frequency * np.cos(angle)), np.float32(frequency * np.sin(angle))
    pattern = np.sin(x * cos + y * sin)  # stripes
    if rng.random() < 0.5:  # checks
        pattern = np.sign(pattern * np.sin(y * cos - x * sin))
    noise = rng.uniform(1, 9) * rng.standard_normal((height, width), np.float32)
    for channel in range(3):
        image[..., channel] += rng.uniform(2, 14) * pattern + noise
    return image


def _place(
    rng: np.random.Generator, name: str, seen: np.ndarray, whole: list[int]
) -> tuple[np.ndarray, tuple[slice, slice], np.ndarray] | None:
    """Find a place where a new object does not hide too much of any other.

    Returns how much of every pixel it covers (0..1, in a window), the window, and its box [4];
    None if no place was found.
    """
    height, width = seen.shape
    for _ in range(_TRIES):
        outline = _outline(rng, name, size=min(height, width) * np.exp(rng.uniform(-2.2, -0.45)))
        low, high = outline[0].min(0), outline[0].max(0)
        # Up to a tenth of an object may stick out of the image.
        slack = 0.1 * (high - low)
        shift = rng.uniform(-low - slack, [width, height] - high + slack)
        box = np.concatenate([low + shift, high + shift]).clip(0, [width, height, width, height])
        x1, y1, x2, y2 = (*np.floor(box[:2]).astype(int), *np.ceil(box[2:]).astype(int))
        window = (slice(y1, y2), slice(x1, x2))
        cover = _rasterise([contour + shift - (x1, y1) for contour in outline], y2 - y1, x2 - x1)
        visible = np.bincount(seen[seen >= 0], minlength=len(whole))
        under = seen[window][cover > 0.5]
        hidden = np.bincount(under[under >= 0], minlength=len(whole))
        if (visible - hidden >= (1 - _MOST_COVERED) * np.array(whole)).all():
            return cover, window, box
    return None


def _outline(rng: np.random.Generator, name: str, *, size: float) -> Outline:
    """Return the contours of a shape about `size` pixels wide, centred on the origin."""
    circle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    disc = np.stack([np.cos(circle), np.sin(circle)], axis=-1)
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * 0.9
    triangle = np.array([[0, -1], [1, 0.8], [-1, 0.8]])
    quarter = np.array([[1, 0.3], [0.3, 0.3], [0.3, 1], [-0.3, 1]])  # an arm of the cross
    turn = np.array([[0, 1], [-1, 0]])
    cross = np.concatenate([quarter @ np.linalg.matrix_power(turn, n) for n in range(4)])
    contours = {
        "disc": [disc],
        "ring": [disc, disc * 0.5],
        "square": [square],
        "triangle": [triangle],
        "cross": [cross],
    }[name]
    stretch = np.exp(rng.uniform(-0.3, 0.3))
    angle = rng.uniform(-0.35, 0.35)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return [size / 2 * contour * [stretch, 1 / stretch] @ rotation.T for contour in contours]


def _rasterise(outline: Outline, height: int, width: int) -> np.ndarray:
    """Compute how much of every pixel an outline covers, [H, W] float32 in 0..1."""
    mask = np.zeros((height, width), np.uint8)
    # OpenCV's integer coordinates are pixel centres; here 0 is the border of the image.
    points = [np.round((contour - 0.5) * 2**_SHIFT).astype(np.int32) for contour in outline]
    cv2.fillPoly(mask, points, 255, lineType=cv2.LINE_AA, shift=_SHIFT)
    return mask.astype(np.float32) / 255


def _paint(rng: np.random.Generator, image: np.ndarray, cover: np.ndarray) -> None:
    """Paint an object into a window, in a shaded colour that contrasts with the background."""
    colours = rng.uniform(0, 255, (16, 3))
    under = image[cover > 0.5].mean(axis=0)
    colour = colours[np.argmax(np.abs(colours - under).sum(1) > 170)]
    shade = np.linspace(rng.uniform(0.85, 1), rng.uniform(0.85, 1), len(image), dtype=np.float32)
    noise = 4 * rng.standard_normal(cover.shape, np.float32)
    paint = colour.astype(np.float32) * shade[:, None, None] + noise[..., None]
    image += (paint - image) * cover[..., None]
