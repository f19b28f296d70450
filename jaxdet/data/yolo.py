"""Annotations in YOLO's format: a text file per image, a line `class cx cy width height` per box.

The coordinates are fractions of the image. The class is an index from 0 in a list of names: `names`
in a `data.yaml`, or the lines of a `classes.txt` or `*.names`.
"""

import pathlib
from collections.abc import Sequence

import numpy as np
import yaml


def find_names(files: Sequence[pathlib.Path]) -> tuple[dict[int, str], set[pathlib.Path]]:
    """Return the class names by number, empty if unknown, and the files that list them.

    Raises:
        ValueError: two files list different names, or one cannot be read.
    """
    lists = {path: names for path in files if (names := _names(path))}
    first, names = next(iter(lists.items()), (None, {}))
    for path, others in lists.items():
        if others != names:
            raise ValueError(f"{first} and {path} list different classes: {names} and {others}")
    return names, set(lists)


def read(text: pathlib.Path) -> tuple[list[int], np.ndarray]:
    """Read the class numbers and the boxes [n, 4] xyxy, in fractions, of an annotation file.

    An empty file means an image without objects.

    Raises:
        ValueError: a line is not in YOLO's format.
    """
    rows = [line.split() for line in text.read_text("utf-8-sig").splitlines() if line.strip()]
    if uneven := [row for row in rows if len(row) != 5]:
        raise ValueError(f"{text}: {' '.join(uneven[0])!r} is not 'class cx cy width height'")
    boxes_cxcywh = np.array([row[1:] for row in rows], np.float64).reshape(-1, 4)
    centres, sides = np.split(boxes_cxcywh, 2, axis=1)
    corners = np.concatenate([centres - sides / 2, centres + sides / 2], axis=1)
    return [int(row[0]) for row in rows], corners


def _names(path: pathlib.Path) -> dict[int, str]:
    """Return the class names that a file lists, empty if it lists none."""
    is_list = path.name.lower() == "classes.txt" or path.suffix.lower() == ".names"
    if not is_list and path.suffix.lower() not in (".yaml", ".yml"):
        return {}
    try:
        text = path.read_text("utf-8-sig")
        content = None if is_list else yaml.safe_load(text)
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if is_list:
        return dict(enumerate(line.strip() for line in text.splitlines() if line.strip()))
    names = content.get("names") if isinstance(content, dict) else None
    listed = dict(enumerate(names)) if isinstance(names, list) else names or {}
    # YAML reads `no` and `off` as false: such a name must be in quotes.
    named = isinstance(listed, dict) and all(
        str(number).isdigit() and type(name) in (str, int) for number, name in listed.items()
    )
    if not named:
        raise ValueError(f"{path} has the names {names!r}, expected a list, or names by number")
    return {int(number): str(name).strip() for number, name in sorted(listed.items())}
