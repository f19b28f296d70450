"""Reads an annotation in VOC's XML, and whatever other tools put there in place of a box."""

import dataclasses
import math
import pathlib
import re
import xml.etree.ElementTree as ElementTree

import numpy as np

from jaxdet.data.check import Example
from jaxdet.data.values import size_of

SEVERAL = "object with several boxes, each is used"
OUTLINE = "object without a box, that of its outline is used"
ROTATED = "object with a rotated box, the upright box around it is used"


@dataclasses.dataclass(frozen=True)
class Annotation:
    """The content of a file."""

    example: Example  # its boxes are in pixels, its `notes` what was left out or read otherwise
    file_name: str  # that of the image; "" if the annotation states none
    folder: str  # the folder of the image, "" if the annotation states none


def read(xml: pathlib.Path) -> Annotation:
    """Read a file; an object that cannot be used is left out, with a note.

    VOC counts pixels from 1 and includes the last one, so a box from `xmin` to `xmax` covers the
    continuous range `xmin - 1` to `xmax` (development kit of VOC2012, section 8.1).

    Raises:
        ValueError: there is no such file, or it is not in that format.
    """
    try:
        root = ElementTree.parse(xml).getroot()
    except FileNotFoundError:
        raise ValueError(f"no annotation file at {xml}") from None
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise ValueError(f"{xml} is not an annotation in VOC's format: {error}") from error
    if root.tag != "annotation":
        raise ValueError(
            f"{xml} is not an annotation in VOC's format: the root is <{root.tag}>, expected "
            "<annotation>"
        )
    size, notes = size_of(root.findtext("size/height"), root.findtext("size/width"))
    boxes, names, hard = [], [], []
    for number, thing in enumerate(root.findall("object"), start=1):
        name = thing.findtext("name", "").strip()
        found, more = _boxes(thing)
        if not name:
            found, more = [], [("object without a name", "")]
        boxes += found
        names += [name] * len(found)
        hard += [_flag(thing.findtext("difficult", ""))] * len(found)
        notes += tuple((reason, f"object {number} {each}".strip()) for reason, each in more)
    example = Example(
        id="",
        file=str(xml),
        encoded=None,
        size=size,
        boxes=np.array(boxes, np.float64).reshape(-1, 4),
        names=names,
        difficult=np.array(hard, bool),
        crowd=np.zeros(len(boxes), bool),
        area=np.full(len(boxes), math.nan),
        pixels=True,
        notes=notes,
    )
    path = re.split(r"[\\/]", root.findtext("path", "").strip())
    folder = "/".join(path[:-1]) or root.findtext("folder", "").strip()
    return Annotation(example, root.findtext("filename", "").strip(), folder)


def _boxes(thing: ElementTree.Element) -> tuple[list[list[float]], list[tuple[str, str]]]:
    """Return the boxes of an object, x1 y1 x2 y2 counted from 0, and notes: (reason, found)."""
    found, notes = [], []
    for box in thing.findall("bndbox"):
        edges = [box.findtext(edge) for edge in ("xmin", "ymin", "xmax", "ymax")]
        numbers = _numbers(edges)
        if numbers is None:
            notes.append(("box whose edges are not four numbers", f"{edges}"))
        else:
            found.append([numbers[0] - 1, numbers[1] - 1, *numbers[2:]])
    if len(found) > 1:
        notes.append((SEVERAL, f"has {len(found)}"))
    if found or notes:
        return found, notes
    for outline, reason in ((_rotated(thing), ROTATED), (_polygon(thing), OUTLINE)):
        if outline is not None:
            return [[*outline.min(0).tolist(), *outline.max(0).tolist()]], [(reason, "")]
    return [], [("object without a box", f"has {[part.tag for part in thing]}")]


def _polygon(thing: ElementTree.Element) -> np.ndarray | None:
    """Return the points [n, 2] of a <polygon>: x1 y1 x2 y2 ..., or elements with x and y."""
    polygon = thing.find("polygon")
    if polygon is None:
        return None
    pairs = [
        [part.findtext("x"), part.findtext("y")] for part in polygon if part.find("x") is not None
    ]
    named = {part.tag: part.text for part in polygon}
    count = sum(tag.startswith("x") and tag[1:].isdigit() for tag in named)
    pairs = pairs or [[named.get(f"x{i}"), named.get(f"y{i}")] for i in range(1, count + 1)]
    numbers = _numbers([each for pair in pairs for each in pair])
    return np.array(numbers).reshape(-1, 2) if numbers and len(numbers) >= 4 else None


def _rotated(thing: ElementTree.Element) -> np.ndarray | None:
    """Return the corners [4, 2] of a <robndbox>: centre, sides and an angle in radians."""
    box = thing.find("robndbox")
    if box is None:
        return None
    numbers = _numbers([box.findtext(key) for key in ("cx", "cy", "w", "h", "angle")])
    if numbers is None:
        return None
    cx, cy, width, height, angle = numbers
    corners = np.array([[-width, -height], [width, -height], [width, height], [-width, height]]) / 2
    cos, sin = math.cos(angle), math.sin(angle)
    return corners @ np.array([[cos, sin], [-sin, cos]]) + [cx, cy]


def _numbers(texts: list[str | None]) -> list[float] | None:
    try:
        return [float(text) for text in texts]
    except (TypeError, ValueError):
        return None


def _flag(text: str) -> bool:
    return text.strip().lower() in ("1", "true", "yes")
