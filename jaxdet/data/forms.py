"""Reads a folder of annotations in one of the common formats: VOC XML, YOLO text, COCO JSON.

Each function reads only annotations, no images, and returns the ordered class names and the usable
images. What cannot be used is recorded in the folder.
"""

import dataclasses
import pathlib
import re
from typing import Any

import numpy as np

from jaxdet.data import coco, voc, yolo
from jaxdet.data.check import Example
from jaxdet.data.folder import IMAGES, Folder, Item, split_of_file

Classes = tuple[str, ...]


def read_voc(folder: Folder) -> tuple[Classes, list[Item]]:
    """Read one XML file per image; splits come from lists in `ImageSets/Main`, if any."""
    lists, items = _voc_lists(folder), []
    for xml in folder.with_suffix(".xml"):
        try:
            example, name = _without_clicks(voc.parse(xml, "", None)), voc.file_name(xml)
        except ValueError:
            folder.skip("annotation file that is not in VOC's format", xml)
            continue
        # The name distinguishes an image from a mask beside it, but in many datasets it is wrong.
        names = [name, xml.stem] if pathlib.PurePath(name).stem == xml.stem else [xml.stem]
        path = folder.match(names, xml.parent, xml)
        if path is not None:
            split = folder.split(path) if lists is None else lists.get(xml.stem)
            items.append(folder.item(path, split, example))
    used = {pathlib.Path(item.example.file).stem for item in items}
    if lists and items and not lists.keys() & used:
        raise ValueError(
            f"the lists in ImageSets/Main name none of the {len(items):,} annotated images of "
            f"{folder.root}; the first name there is {next(iter(lists))!r}"
        )
    for name in sorted((lists or {}).keys() - used):
        folder.skip("name in a list without a usable image", name)
    for path in folder.unmatched():
        folder.skip("image without an annotation", path)
    return tuple(sorted({name for item in items for name in item.example.names})), items


def read_yolo(folder: Folder) -> tuple[Classes, list[Item]]:
    """Read one text file per image; an image without one is kept as background, with no objects.

    Raises:
        ValueError: an object's class has no name.
    """
    names, lists = yolo.find_names(folder.files)
    splits, split_lists = _yolo_lists(folder)
    items = []
    for text in folder.with_suffix(".txt"):
        is_list = text in lists or text in split_lists
        path = None if is_list else folder.match([text.stem], text.parent, text)
        if path is None:
            continue
        try:
            labels, boxes = yolo.read(text)
        except ValueError:
            folder.skip("annotation file that is not in YOLO's format", text)
            continue
        if unknown := set(labels) - names.keys():
            named = (
                f"the names are {names}" if names else "found no data.yaml, classes.txt or *.names"
            )
            raise ValueError(f"{text} has class {min(unknown)}; {named}")
        example = _yolo_example(text, [names[label] for label in labels], boxes)
        items.append(folder.item(path, splits.get(path.name, folder.split(path)), example))
    for path in folder.unmatched():
        empty = _yolo_example(path, [], np.zeros((0, 4)))
        items.append(folder.item(path, splits.get(path.name, folder.split(path)), empty))
    return tuple(names.values()), items


def read_coco(folder: Folder) -> tuple[Classes, list[Item]]:
    """Read JSON files in COCO's `instances` format.

    The split comes from the file's name, its folder, or the folder of the image.

    Raises:
        ValueError: an image or annotation lacks a required field.
    """
    classes, items = {}, []
    for file in folder.with_suffix(".json"):
        try:
            names, images, things = coco.read(file)
        except ValueError as error:
            folder.skip(str(error).replace(str(file), "JSON file that"), file)
            continue
        classes |= dict.fromkeys(names.values())
        for image in images:
            try:
                item = _coco_item(folder, file, image, things.get(image["id"], []), names)
            except (KeyError, TypeError) as error:
                raise ValueError(f"{file}: {image} or its annotations: {error!r}") from error
            items += [item] if item else []
    for path in folder.unmatched():
        folder.skip("image that no JSON file lists", path)
    return tuple(classes), items


def _voc_lists(folder: Folder) -> dict[str, str] | None:
    """Return the split of every name in the lists; None if there are no lists."""
    lists = [path for path in folder.files if path.parts[-3:-1] == ("ImageSets", "Main")]
    splits = {"trainval": "train", "train": "train", "val": "val", "test": "test"}
    stems = {xml.stem for xml in folder.files if xml.suffix.lower() == ".xml"}
    found = {}
    # A name in two lists goes to the later split: never train on test images.
    for name, split in splits.items():
        for path in lists:
            if path.name == f"{name}.txt":
                rows = path.read_text("utf-8-sig").splitlines()
                found |= {_listed(row.strip(), stems): split for row in rows if row.strip()}
    return found if lists else None


def _listed(row: str, stems: set[str]) -> str:
    """Return which of `stems` a row of a list names, or the row itself if it names none.

    The row may have an extension, or the devkit's flag (1, 0 or -1: whether a class is present).
    """
    plain = re.sub(r"\s+-?[01]$", "", row)
    names = (pathlib.PurePath(each) for each in (row, plain))
    forms = [form for path in names for form in (path.name, path.stem)]
    return next((form for form in forms if form in stems), row)


def _yolo_lists(folder: Folder) -> tuple[dict[str, str], set[pathlib.Path]]:
    """Return the split by image file name from Darknet's lists of paths (train.txt), and the lists.

    An image in two lists goes to the later split.
    """
    splits, files = {}, set()
    for name in ("train", "val", "valid", "test"):
        for path in folder.files:
            if path.name.lower() == f"{name}.txt":
                rows = path.read_text("utf-8-sig", "replace").splitlines()
                rows = [pathlib.PurePath(row.strip().replace("\\", "/")) for row in rows]
                rows = [row for row in rows if row.name]
                if rows and all(row.suffix.lower() in IMAGES for row in rows):
                    splits |= {row.name: split_of_file(path) for row in rows}
                    files.add(path)
    return splits, files


def _without_clicks(example: Example) -> Example:
    """Make one-pixel boxes empty, so that `check` leaves them out.

    Labelling tools write xmin = xmax where somebody clicked without drawing; VOC counts that as
    one pixel.
    """
    height, width = example.size
    pixels = (example.boxes[:, 2:] - example.boxes[:, :2]) * [width, height]
    clicks = (pixels < 1.5).any(axis=1, keepdims=True)
    boxes = np.where(clicks, example.boxes[:, [0, 1, 0, 1]], example.boxes)
    return dataclasses.replace(example, boxes=boxes)


def _yolo_example(file: pathlib.Path, names: list[str], boxes: np.ndarray) -> Example:
    return Example(
        id="",
        file=str(file),
        encoded=None,
        size=None,
        boxes=boxes,
        names=names,
        difficult=np.zeros(len(names), bool),
        crowd=np.zeros(len(names), bool),
        area=np.full(len(names), np.nan),
    )


def _coco_item(
    folder: Folder,
    file: pathlib.Path,
    image: dict[str, Any],
    things: list[dict[str, Any]],
    names: dict[int, str],
) -> Item | None:
    name = pathlib.PurePosixPath(image["file_name"].replace("\\", "/"))
    path = folder.match([name.name, name.stem], file.parent / name.parent, image["file_name"])
    if path is None:
        return None
    boxed = [thing for thing in things if len(thing.get("bbox") or ()) == 4]
    for _ in range(len(things) - len(boxed)):
        folder.skip("object without a box", path)
    split = split_of_file(file) or folder.split(file) or folder.split(path)
    return folder.item(path, split, coco.parse(image, boxed, names))
