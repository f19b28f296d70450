"""Reads a file in COCO's `instances` format, and checks the type of every value once, here."""

import collections
import dataclasses
import json
import math
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxdet.data.check import Example, Notes
from jaxdet.data.values import Id, id_of, number_of, size_of

OUTLINE = "object without a box, that of its outline is used"


class NotCoco(ValueError):
    """The file is not in COCO's format at all."""


class Unusable(ValueError):
    """An entry that cannot be used: a reason, and what was found."""

    def __init__(self, reason: str, found: str):
        super().__init__(f"{reason}: {found}")
        self.reason, self.found = reason, found


@dataclasses.dataclass(frozen=True)
class Content:
    """The checked content of a file."""

    names: dict[Id, str]  # classes by id, in the order of the ids
    parents: list[str]  # categories that are none: others name them as theirs
    images: list[Example]  # `id` is the image's, `file` its file_name; boxes in pixels


@dataclasses.dataclass(frozen=True)
class _Thing:
    image: Id
    name: str
    box: list[float]  # x y width height, in pixels
    area: float
    crowd: bool
    notes: Notes


def refuse(reason: str, found: str) -> None:
    """Raise ValueError for an entry that cannot be used."""
    raise ValueError(f"{reason}: {found}")


def read(file: pathlib.Path, skip: Callable[[str, str], None] = refuse) -> Content:
    """Read the classes and the images with their objects; no image file is read.

    Numbers may be given as text. An entry that cannot be used is left out after a call of `skip`
    with the reason and the place. A parent category without objects (Roboflow's) is no class.

    Raises:
        NotCoco: the file is not in that format.
        ValueError: its classes or the ids of its images are inconsistent.
    """
    content = _content(file)
    names, parents = _categories(file, content)
    images: dict[Id, dict[str, Any]] = {}
    for number, entry in enumerate(content["images"]):
        try:
            id = _image_id(entry)
        except Unusable as error:
            skip(error.reason, f"{file.name}: images[{number}] has {error.found}")
            continue
        if id in images and images[id]["file_name"] == entry["file_name"]:
            skip("image that is listed twice", f"{file.name}: images[{number}], {id!r}")
            continue
        if id in images:
            raise ValueError(f"{file} lists several images with the same id: [{id!r}]")
        images[id] = entry
    things = collections.defaultdict(list)
    for number, entry in enumerate(content["annotations"]):
        at = f"{file.name}: annotations[{number}]"
        try:
            thing = _thing(entry, images, names, at)
            things[thing.image].append(thing)
        except Unusable as error:
            skip(error.reason, f"{at} has {error.found}")
    return Content(names, parents, [_example(id, images[id], things[id]) for id in images])


def _content(file: pathlib.Path) -> dict[str, list]:
    raw = file.read_bytes()
    try:
        content = json.loads(raw)
    except ValueError as error:
        kind = ValueError if b'"annotations"' in raw else NotCoco
        raise kind(f"{file} is not in COCO's format: it is no JSON: {error}") from error
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise NotCoco(f"{file} is not in COCO's format: it holds a {kind}, expected an object")
    for key in ("images", "annotations", "categories"):
        if not isinstance(content.get(key), list):
            found = f"`{key}` is {content[key]!r:.40}" if key in content else f"no `{key}`"
            kind = ", it looks like LabelMe's" if "shapes" in content else ""
            raise NotCoco(f"{file} is not in COCO's format: {found}, expected a list{kind}")
    return content


def _categories(file: pathlib.Path, content: dict[str, list]) -> tuple[dict[Id, str], list[str]]:
    """Return the class names by id, and the names of parents without objects."""
    used = {str(each.get("category_id")) for each in content["annotations"] if _is_entry(each)}
    above = collections.defaultdict(set)  # the ids of the categories below a name
    for each in filter(_is_entry, content["categories"]):
        above[str(each.get("supercategory"))].add(str(each.get("id")))
    found, parents = [], []
    for number, each in enumerate(content["categories"]):
        at = f"{file}: categories[{number}]"
        if not _is_entry(each):
            raise ValueError(f"{at} is {each!r:.60}, expected an object with `id` and `name`")
        id, name = id_of(each.get("id")), each.get("name")
        if id is None:
            raise ValueError(f"{at} has the id {each.get('id')!r:.40}, expected a number")
        if type(name) not in (str, int) or not str(name).strip():
            raise ValueError(f"{at} has the name {name!r:.40}, expected text")
        name = str(name).strip()
        if str(id) not in used and above[name] - {str(id)} and str(id) not in above[name]:
            parents.append(name)
        else:
            found.append((id, name))
    found = list(dict.fromkeys(found))
    found.sort(key=lambda each: (isinstance(each[0], str), each[0]))
    names = dict(found)
    if len(set(names.values())) < len(found):
        raise ValueError(f"{file} has two categories with the same id or name: {found}")
    return names, parents


def _image_id(entry: Any) -> Id:
    if not _is_entry(entry):
        raise Unusable("image that is no object", f"the value {entry!r:.60}")
    name = entry.get("file_name")
    if not isinstance(name, str) or not name.strip():
        raise Unusable("image whose file_name is no text", f"the file_name {name!r:.60}")
    if (id := id_of(entry.get("id"))) is None:
        raise Unusable("image without a usable id", f"the id {entry.get('id')!r:.60}")
    return id


def _thing(entry: Any, images: dict[Id, dict[str, Any]], names: dict[Id, str], at: str) -> _Thing:
    if not _is_entry(entry):
        raise Unusable("annotation that is no object", f"the value {entry!r:.60}")
    image, category = id_of(entry.get("image_id")), id_of(entry.get("category_id"))
    if image not in images:
        found = f"the image_id {entry.get('image_id')!r:.60}"
        raise Unusable("annotation of an image that the file does not list", found)
    if category not in names:
        few = ", ".join(f"{id} {name}" for id, name in list(names.items())[:5])
        found = f"category_id {entry.get('category_id')!r:.60}, expected one of {few}"
        raise Unusable("annotation of a category that the file does not list", found)
    box, notes = _box(entry.get("bbox")), ()
    if box is None or min(box[2:]) == 0:
        if (outline := _outline(entry.get("segmentation"))) is not None:
            box, notes = outline, ((OUTLINE, at),)
        elif box is None:
            raise Unusable("object without a box", f"the bbox {entry.get('bbox')!r:.60}")
    area = number_of(entry.get("area"))
    if area is None and entry.get("area") is not None:
        found = f"{at} has the area {entry['area']!r:.60}"
        notes += (("area that is no number, that of the box is used", found),)
    return _Thing(
        image, names[category], box, math.nan if area is None else area, _crowd(entry), notes
    )


def _box(value: Any) -> list[float] | None:
    """Return x y width height, None if there is no box."""
    if value is None or value == []:
        return None
    numbers = [number_of(each) for each in value] if isinstance(value, list) else []
    if len(numbers) != 4 or None in numbers:
        raise Unusable("annotation whose bbox is not four numbers", f"the bbox {value!r:.60}")
    return numbers


def _outline(segmentation: Any) -> list[float] | None:
    """Return the box, x y width height, of polygons or of an uncompressed mask; None without."""
    if isinstance(segmentation, dict):
        return _mask_box(segmentation.get("counts"), segmentation.get("size"))
    polygons = segmentation if isinstance(segmentation, list) else []
    if polygons and not isinstance(polygons[0], list):
        polygons = [polygons]
    if not all(isinstance(polygon, list) for polygon in polygons):
        return None
    flat = [number_of(each) for polygon in polygons for each in polygon]
    if len(flat) < 6 or len(flat) % 2 or None in flat:
        return None
    points = np.array(flat).reshape(-1, 2)
    return [*points.min(0).tolist(), *np.ptp(points, axis=0).tolist()]


def _mask_box(counts: Any, size: Any) -> list[float] | None:
    """Return the box of a mask given as lengths of runs, down the columns, of 0 and 1."""
    if not isinstance(counts, list) or not isinstance(size, list) or len(size) != 2:
        return None
    if not all(type(each) is int and each >= 0 for each in counts + size) or not all(size):
        return None
    runs = np.cumsum([0, *counts])
    pixels = [np.arange(a, b) for a, b in zip(runs[1:-1:2], runs[2::2], strict=False)]
    if not pixels or not (inside := np.concatenate(pixels)).size:
        return None
    x, y = np.divmod(inside, size[0])
    corner = [int(x.min()), int(y.min())]
    return [*corner, int(x.max()) + 1 - corner[0], int(y.max()) + 1 - corner[1]]


def _crowd(entry: dict[str, Any]) -> bool:
    value = entry.get("iscrowd")
    known = {"0": False, "false": False, "none": False, "1": True, "true": True}
    text = str(value).strip().lower()
    if text not in known:
        found = f"the iscrowd {value!r:.60}"
        raise Unusable("annotation whose iscrowd is neither 0 nor 1", found)
    return known[text]


def _example(id: Id, entry: dict[str, Any], things: list[_Thing]) -> Example:
    corner_and_size = np.array([thing.box for thing in things], np.float64).reshape(-1, 4)
    corners = corner_and_size + np.pad(corner_and_size[:, :2], ((0, 0), (2, 0)))
    size, notes = size_of(entry.get("height"), entry.get("width"))
    return Example(
        id=str(id),
        file=entry["file_name"].strip(),
        encoded=None,
        size=size,
        boxes=corners,
        names=[thing.name for thing in things],
        difficult=np.zeros(len(things), bool),
        crowd=np.array([thing.crowd for thing in things], bool),
        area=np.array([thing.area for thing in things], np.float64),
        pixels=True,
        notes=notes + tuple(note for thing in things for note in thing.notes),
    )


def _is_entry(value: Any) -> bool:
    return isinstance(value, dict)
