"""The one place where images and annotations are checked, whatever their source."""

import dataclasses
import difflib
import functools
import os
from collections.abc import Iterator
from typing import Any

import grain
import numpy as np
from absl import logging
from tqdm import tqdm

from jaxdet.data.decode import decode_full, decode_stored, is_dark_16_bit
from jaxdet.types import Annotation

Problems = dict[str, dict[str, Any]]  # reason -> {"count": ..., "files": the first few}
Notes = tuple[tuple[str, str], ...]  # (reason, what was found), one for each element concerned

NO_SIZE = "annotation without a usable size, the image's own is used"
OTHER_SIZE = "image size differs from the one in its annotation, its own is used"
TURNED = "image has an EXIF rotation, its boxes are rotated with it"
RESIZED = "image size differs from the one in its annotation, boxes scaled with it"

_NAMED_FILES = 5  # how many files a warning names
_TURNS = (  # how an image is rotated upright, and what that does to a box
    (lambda image: np.rot90(image, -1), lambda x1, y1, x2, y2: (1 - y2, x1, 1 - y1, x2)),
    (lambda image: np.rot90(image, 1), lambda x1, y1, x2, y2: (y1, 1 - x2, y2, 1 - x1)),
    (lambda image: image.swapaxes(0, 1), lambda x1, y1, x2, y2: (y1, x1, y2, x2)),
    (
        lambda image: np.rot90(image, 2).swapaxes(0, 1),
        lambda x1, y1, x2, y2: (1 - y2, 1 - x2, 1 - y1, 1 - x1),
    ),
)


@dataclasses.dataclass(frozen=True)
class Example:
    """An encoded image with its annotation, as the source gives it, unchecked."""

    id: str
    file: str  # named in messages: the file of the annotation, or of the image
    encoded: bytes | None  # the bytes of the image file; None if it is missing
    size: tuple[int, int] | None  # the height and width that the annotation states, if any
    boxes: np.ndarray  # [n, 4] xyxy, fractions of the image, or pixels
    names: list[str]  # n class names
    difficult: np.ndarray  # [n] bool
    crowd: np.ndarray  # [n] bool
    area: np.ndarray  # [n] square pixels; nan stands for the area of the box
    pixels: bool = False  # whether the boxes are in pixels
    notes: Notes = ()  # what was left out, or used in another way, when the annotation was read


@dataclasses.dataclass(frozen=True)
class Checked:
    """An example after `check`, with its valid annotation and the problems found."""

    example: Example
    annotation: Annotation | None  # None if the image cannot be used
    problems: list[str]  # one entry per affected image or box


def check(
    example: Example | Checked, classes: tuple[str, ...], *, resized: bool = False
) -> Checked:
    """Check an image and its boxes, fix what can be fixed and list the problems.

    Boxes that are empty, outside the image or not finite are left out; boxes that cross the
    border are clipped; boxes of an image with an EXIF rotation are rotated with it. Where the
    annotation states another size than the image's own, its pixels are those of the image or, if
    `resized`, those of the size that it states. What is checked already is returned as it is.

    Raises:
        ValueError: a class name is not among `classes`.
    """
    if isinstance(example, Checked):
        return example
    labels = np.array([_label(name, classes, example.file) for name in example.names], np.int32)
    if example.encoded is None:
        return Checked(example, None, ["image file is missing"])
    try:
        image = decode_full(example.encoded)
    except ValueError as error:
        return Checked(example, None, [f"image cannot be decoded: {error}"])
    boxes, size_problems = _fractions(example, image, resized=resized)
    if is_dark_16_bit(example.encoded):
        size_problems.append("16-bit image without values above 16383, it will be dark")
    boxes, usable, box_problems = _check_boxes(boxes, image.shape[:2])
    annotation = _annotation(example, image.shape[:2], boxes, labels, usable)
    return Checked(example, annotation, size_problems + box_problems)


def check_all(
    examples: grain.MapDataset, classes: tuple[str, ...], name: str, *, verb: str = "Preparing"
) -> Iterator[Checked]:
    """Check examples on all cores, in order, with a progress bar."""
    threads = os.cpu_count() or 1
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=4 * threads)
    checked = examples.map(functools.partial(check, classes=classes)).to_iter_dataset(options)
    return iter(tqdm(checked, desc=f"{verb} {name}", total=len(examples), unit=" images"))


def note(problems: Problems, checked: Checked) -> None:
    """Count the problems of a checked example, those found when it was read first."""
    for reason, found in checked.example.notes:
        count(problems, reason, f"{checked.example.file}: {found}")
    for reason in checked.problems:
        count(problems, reason, checked.example.file)


def count(problems: Problems, reason: str, file: str) -> None:
    """Count one problem, and keep the names of the first few files that have it."""
    entry = problems.setdefault(reason, {"count": 0, "files": []})
    entry["count"] += 1
    if len(entry["files"]) < _NAMED_FILES and file not in entry["files"]:
        entry["files"].append(file)


def warn(problems: Problems, name: str) -> None:
    """Log each problem, how often it occurs, and the first files that have it."""
    for reason, entry in problems.items():
        files = ", ".join(entry["files"])
        logging.warning("%s: %s: %d times, first in %s", name, reason, entry["count"], files)


def _label(name: str, classes: tuple[str, ...], file: str) -> int:
    if name in classes:
        return classes.index(name)
    near = difflib.get_close_matches(name, classes, n=1, cutoff=0)
    raise ValueError(
        f"{file}: unknown class {name!r}; the nearest known name is {near[0]!r}"
        if near
        else f"{file}: class {name!r} in a dataset without classes"
    )


def _fractions(
    example: Example, image: np.ndarray, *, resized: bool
) -> tuple[np.ndarray, list[str]]:
    """Return the boxes as fractions of the upright image, and what was found about its size."""
    boxes = np.asarray(example.boxes, np.float64).reshape(-1, 4)
    own, stated = image.shape[:2], example.size
    turned = stated not in (None, own) and stated == own[::-1]
    turned = turned and decode_stored(example.encoded).shape[:2] == stated
    height, width = stated if turned or (resized and stated) else own
    if example.pixels:
        boxes = boxes / [width, height, width, height]
    if turned:
        return _rotate(boxes, example.encoded, image), [TURNED]
    if stated in (None, own):
        return boxes, []
    return boxes, [RESIZED if resized else OTHER_SIZE]


def _rotate(boxes: np.ndarray, encoded: bytes, upright: np.ndarray) -> np.ndarray:
    """Rotate boxes [n, 4] of a stored image as the decoder rotated the image."""
    stored = decode_stored(encoded)
    rotate = next(corners for turn, corners in _TURNS if np.array_equal(turn(stored), upright))
    return np.stack(rotate(*boxes.T), axis=-1)


def _check_boxes(
    boxes: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Clip boxes [n, 4]; returns them, which [n] are usable, and the problems found."""
    finite = np.isfinite(boxes).all(1)
    empty = finite & (boxes[:, :2] >= boxes[:, 2:]).any(1)
    outside = finite & ~empty & ((boxes[:, 2:] <= 0) | (boxes[:, :2] >= 1)).any(1)
    usable = finite & ~empty & ~outside
    clipped = boxes.clip(0, 1)
    # A pixel over the border only reflects a convention (counting from 0 or 1): not reported.
    pixel = 1.001 / np.array([size[1], size[0], size[1], size[0]])
    moved = usable & (np.abs(np.where(usable[:, None], boxes - clipped, 0)) > pixel).any(1)
    problems = {
        "box is not finite": ~finite,
        "box is empty (x2 <= x1 or y2 <= y1)": empty,
        "box lies outside the image": outside,
        "box crosses the border, clipped": moved,
    }
    return clipped, usable, [text for text, which in problems.items() for _ in range(which.sum())]


def _annotation(
    example: Example,
    size: tuple[int, int],
    boxes: np.ndarray,
    labels: np.ndarray,
    usable: np.ndarray,
) -> Annotation:
    boxes = boxes[usable].astype(np.float32)
    box_area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) * (size[0] * size[1])
    area = np.asarray(example.area, np.float32)[usable]
    return Annotation(
        id=example.id,
        height=size[0],
        width=size[1],
        boxes=boxes,
        labels=labels[usable],
        difficult=np.asarray(example.difficult, bool)[usable],
        crowd=np.asarray(example.crowd, bool)[usable],
        area=np.where(np.isnan(area), box_area, area).astype(np.float32),
    )
