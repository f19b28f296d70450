"""The one place where pictures and annotations are checked, whatever source they come from."""

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

from jaxdet.data.decode import decode_full, decode_stored
from jaxdet.types import Annotation

Problems = dict[str, dict[str, Any]]  # reason to {"count": ..., "files": the first few}

_NAMED_FILES = 5  # how many files a warning names
_TURNS = (  # how a picture was turned upright, and where that takes the corners of a box
    (lambda image: np.rot90(image, -1), lambda x1, y1, x2, y2: (1 - y2, x1, 1 - y1, x2)),
    (lambda image: np.rot90(image, 1), lambda x1, y1, x2, y2: (y1, 1 - x2, y2, 1 - x1)),
    (lambda image: image.swapaxes(0, 1), lambda x1, y1, x2, y2: (y1, x1, y2, x2)),
    (
        lambda image: np.rot90(image, 2).swapaxes(0, 1),
        lambda x1, y1, x2, y2: (1 - y2, 1 - x2, 1 - y1, 1 - x1),
    ),
)


@dataclasses.dataclass(frozen=True)
class Picture:
    """One picture as its source describes it, unchecked."""

    id: str
    file: str  # what messages name: the annotation's file, or the picture's
    encoded: bytes | None  # the picture file as it is; None where it is missing
    size: tuple[int, int] | None  # height and width that the annotation was made at, if known
    boxes: np.ndarray  # [n, 4] xyxy, fractions of that size
    names: list[str]  # n class names
    difficult: np.ndarray  # [n] bool
    crowd: np.ndarray  # [n] bool
    area: np.ndarray  # [n] square pixels; nan for the area of the box


@dataclasses.dataclass(frozen=True)
class Checked:
    """A picture after `check`: None where it cannot be used, and why, or what was mended."""

    picture: Picture
    annotation: Annotation | None
    problems: list[str]  # one entry per affected picture or box


def check(picture: Picture, classes: tuple[str, ...]) -> Checked:
    """Check a picture and its boxes, mend what can be mended and name the rest.

    Boxes that are empty, outside the picture or not finite are left out, boxes that reach over
    the border are clipped, boxes of a picture stored turned (EXIF) are turned with it.

    Raises:
        ValueError: a class name is not among `classes`.
    """
    labels = np.array([_label(name, classes, picture.file) for name in picture.names], np.int32)
    if picture.encoded is None:
        return Checked(picture, None, ["picture file is missing"])
    try:
        image = decode_full(picture.encoded)
    except ValueError as error:
        return Checked(picture, None, [f"picture cannot be decoded: {error}"])
    size, problems = image.shape[:2], []
    boxes = np.asarray(picture.boxes, np.float64).reshape(-1, 4)
    if picture.size not in (None, size):
        if picture.size != size[::-1] or decode_stored(picture.encoded).shape[:2] != picture.size:
            return Checked(picture, None, ["picture is not of the size that its annotation says"])
        boxes = _turn(boxes, picture.encoded, image)
        problems.append("picture stored turned (EXIF), its boxes are turned with it")
    boxes, usable, box_problems = _check_boxes(boxes, size)
    annotation = _annotation(picture, size, boxes, labels, usable)
    return Checked(picture, annotation, problems + box_problems)


def check_all(pictures: grain.MapDataset, classes: tuple[str, ...], name: str) -> Iterator[Checked]:
    """Check pictures on all cores, in order, with a progress bar."""
    threads = os.cpu_count() or 1
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=4 * threads)
    checked = pictures.map(functools.partial(check, classes=classes)).to_iter_dataset(options)
    return iter(tqdm(checked, desc=f"Preparing {name}", total=len(pictures), unit=" pictures"))


def note(problems: Problems, checked: Checked) -> None:
    """Count the problems of a checked picture."""
    for reason in checked.problems:
        count(problems, reason, checked.picture.file)


def count(problems: Problems, reason: str, file: str) -> None:
    """Count one problem, and keep the names of the first few files that have it."""
    entry = problems.setdefault(reason, {"count": 0, "files": []})
    entry["count"] += 1
    if len(entry["files"]) < _NAMED_FILES and file not in entry["files"]:
        entry["files"].append(file)


def warn(problems: Problems, name: str) -> None:
    """Say what was found wrong, how often, and in which files first."""
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
        else f"{file}: class {name!r} in a set without classes"
    )


def _turn(boxes: np.ndarray, encoded: bytes, upright: np.ndarray) -> np.ndarray:
    """Turn boxes [n, 4] of a stored picture as the decoder turned the picture."""
    stored = decode_stored(encoded)
    turn = next(corners for turned, corners in _TURNS if np.array_equal(turned(stored), upright))
    return np.stack(turn(*boxes.T), axis=-1)


def _check_boxes(
    boxes: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Clip boxes [n, 4]; also says which [n] are usable, and what is wrong with the others."""
    finite = np.isfinite(boxes).all(1)
    empty = finite & (boxes[:, :2] >= boxes[:, 2:]).any(1)
    outside = finite & ~empty & ((boxes[:, 2:] <= 0) | (boxes[:, :2] >= 1)).any(1)
    usable = finite & ~empty & ~outside
    clipped = boxes.clip(0, 1)
    # A pixel over the border is a matter of conventions (counting from 0 or 1), not worth a word.
    pixel = 1.001 / np.array([size[1], size[0], size[1], size[0]])
    moved = usable & (np.abs(np.where(usable[:, None], boxes - clipped, 0)) > pixel).any(1)
    problems = {
        "box is not finite": ~finite,
        "box is empty (x2 <= x1 or y2 <= y1)": empty,
        "box lies outside the picture": outside,
        "box reaches over the border, clipped": moved,
    }
    return clipped, usable, [text for text, which in problems.items() for _ in range(which.sum())]


def _annotation(
    picture: Picture,
    size: tuple[int, int],
    boxes: np.ndarray,
    labels: np.ndarray,
    usable: np.ndarray,
) -> Annotation:
    boxes = boxes[usable].astype(np.float32)
    box_area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) * (size[0] * size[1])
    area = np.asarray(picture.area, np.float32)[usable]
    return Annotation(
        id=picture.id,
        height=size[0],
        width=size[1],
        boxes=boxes,
        labels=labels[usable],
        difficult=np.asarray(picture.difficult, bool)[usable],
        crowd=np.asarray(picture.crowd, bool)[usable],
        area=np.where(np.isnan(area), box_area, area).astype(np.float32),
    )
