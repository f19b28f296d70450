"""Annotations in YOLO's format: a text file per image, a line `class cx cy width height` per box.

The coordinates are fractions of the image. The class is an index from 0 in a list of names: `names`
in a `data.yaml`, or the lines of a `classes.txt` or `*.names`. A line may also be a polygon,
`class x1 y1 x2 y2 x3 y3 ...`, or have keypoints after its box.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import yaml

from jaxdet.data.check import Notes

POLYGON = "line with a polygon, the box around it is used"
KEYPOINTS = "line with keypoints, only its box is used"
CONFIDENCE = "line of six numbers, the sixth (a confidence?) is not used"
NOT_NUMBERS = "line that is not numbers, expected `class cx cy width height`"
OTHER_COUNT = "line with another count of numbers, expected `class cx cy width height`"
NO_CLASS = "line whose class is not a number from 0 up"


@dataclasses.dataclass(frozen=True)
class Description:
    """What a data.yaml, obj.data, classes.txt or *.names says about a set."""

    file: pathlib.Path
    names: dict[int, str]  # classes by number, empty if it has none
    content: dict[str, Any]  # the other keys, such as `train`, `path`, `nc`
    problem: str | None = None  # why it is no description of a set


def descriptions(files: Sequence[pathlib.Path]) -> list[Description]:
    """Read the files that may describe a set; other yaml files are among them, with a `problem`.

    Raises:
        ValueError: a file that must describe the set (data.yaml, classes.txt) cannot be read.
    """
    return [found for path in files if (found := _description(path)) is not None]


def names_of(found: Sequence[Description]) -> dict[int, str]:
    """Return the class names by number, empty if unknown.

    Raises:
        ValueError: two files list different names.
    """
    named = [each for each in found if each.names]
    for each in named[1:]:
        if each.names != named[0].names:
            raise ValueError(
                f"{named[0].file} and {each.file} list different classes: {named[0].names} and "
                f"{each.names}"
            )
    return named[0].names if named else {}


def read(
    text: pathlib.Path, names: dict[int, str], keypoints: tuple[int, int] | None = None
) -> tuple[list[int], np.ndarray, Notes]:
    """Read the class numbers and the boxes [n, 4] xyxy, in fractions, of an annotation file.

    An empty file means an image without objects. A line that is not in YOLO's format is left out
    with a note; `keypoints` is the yaml's `kpt_shape`. A class may be given by its name.

    Raises:
        ValueError: the file is not text.
    """
    raw = text.read_bytes()
    content = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    numbers = {name: number for number, name in names.items()}
    labels, boxes, notes = [], [], []
    for at, line in enumerate(content.splitlines(), start=1):
        row = line.partition("#")[0].replace(",", " ").replace(";", " ").split()
        if not row:
            continue
        label, box, reason = _line(row, numbers, keypoints)
        if reason:
            notes.append((reason, f"line {at}: {line.strip()[:60]!r}"))
        if box is not None:
            labels.append(label)
            boxes.append(box)
    return labels, np.array(boxes, np.float64).reshape(-1, 4), tuple(notes)


def _line(
    row: list[str], numbers: dict[str, int], keypoints: tuple[int, int] | None
) -> tuple[int, list[float] | None, str | None]:
    """Return the class, the box xyxy or None, and what there is to say, of a line."""
    try:
        values = [float(value) for value in row[1:]]
    except ValueError:
        return 0, None, NOT_NUMBERS
    if (label := _class(row[0], numbers)) is None:
        return 0, None, NO_CLASS
    count = len(values)
    if keypoints and count == 4 + keypoints[0] * keypoints[1]:
        return label, _corners(values), KEYPOINTS
    if count == 4:
        return label, _corners(values), None
    if count == 5:
        return label, _corners(values), CONFIDENCE
    if count >= 6 and count % 2 == 0:
        return (
            label,
            [min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])],
            POLYGON,
        )
    return 0, None, OTHER_COUNT


def _class(text: str, numbers: dict[str, int]) -> int | None:
    """Return the number of a class: a number from 0 up (also `2.0`), or one of the names."""
    try:
        number = float(text)
    except ValueError:
        return numbers.get(text)
    return int(number) if number >= 0 and number.is_integer() else None


def _corners(values: list[float]) -> list[float]:
    cx, cy, width, height = values[:4]
    return [cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2]


def _description(path: pathlib.Path) -> Description | None:
    suffix = path.suffix.lower()
    is_list = path.name.lower() == "classes.txt" or suffix in (".names", ".labels")
    if not is_list and suffix not in (".yaml", ".yml", ".data"):
        return None
    certain = is_list or path.stem.lower() in ("data", "dataset")
    try:
        text = path.read_text("utf-8-sig")
        content = {} if is_list else _content(text, suffix)
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        if certain:
            raise ValueError(f"{path} cannot be read: {error}") from error
        return Description(path, {}, {}, "cannot be read")
    if is_list:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return Description(path, dict(enumerate(lines)), {})
    if not isinstance(content, dict) or not content.keys() & {"names", "nc", "train", "val"}:
        return Description(path, {}, {}, "has no `names`")
    names = content.get("names")
    if suffix == ".data" or (names is None and not certain):
        return Description(path, {}, content)
    listed = dict(enumerate(names)) if isinstance(names, list) else names or {}
    # YAML reads `no` and `off` as false: such a name must be in quotes.
    named = isinstance(listed, dict) and all(
        str(number).isdigit() and type(name) in (str, int) for number, name in listed.items()
    )
    if not named and not certain and not content.keys() & {"nc", "train", "val"}:
        return Description(path, {}, {}, "has `names` that are no list")
    if not named:
        raise ValueError(f"{path} has the names {names!r}, expected a list, or names by number")
    numbered = {int(number): str(name).strip() for number, name in listed.items()}
    return Description(path, dict(sorted(numbered.items())), content)


def _content(text: str, suffix: str) -> Any:
    """Return the content of a yaml file, or of Darknet's `key = value` lines."""
    if suffix != ".data":
        return yaml.safe_load(text)
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}
