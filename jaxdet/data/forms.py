"""The forms in which people keep annotations: VOC-XML, YOLO-txt and COCO json.

Each function reads the annotations of a folder, and no picture: the names of the classes, in order,
and the pictures that can be used. What cannot is noted in the folder.
"""

import dataclasses
import pathlib
import re
from typing import Any

import numpy as np

from jaxdet.data import coco, voc, yolo
from jaxdet.data.check import Picture
from jaxdet.data.folder import IMAGES, Folder, Item, split_of_file

Classes = tuple[str, ...]


def read_voc(folder: Folder) -> tuple[Classes, list[Item]]:
    """An XML file per picture; splits by lists in `ImageSets/Main` where there are any."""
    lists, items = _voc_lists(folder), []
    for xml in folder.ending(".xml"):
        try:
            picture, name = _without_clicks(voc.parse(xml, "", None)), voc.file_name(xml)
        except ValueError:
            folder.skip("annotation file that is not in VOC's form", xml)
            continue
        # The name tells a photo from the mask beside it, but in many sets it is simply wrong.
        names = [name, xml.stem] if pathlib.PurePath(name).stem == xml.stem else [xml.stem]
        path = folder.take(names, xml.parent, xml)
        if path is not None:
            split = folder.split(path) if lists is None else lists.get(xml.stem)
            items.append(folder.item(path, split, picture))
    used = {pathlib.Path(item.picture.file).stem for item in items}
    if lists and items and not lists.keys() & used:
        raise ValueError(
            f"the lists in ImageSets/Main name none of the {len(items):,} annotated pictures of "
            f"{folder.root}; the first name there is {next(iter(lists))!r}"
        )
    for name in sorted((lists or {}).keys() - used):
        folder.skip("name in a list, but without a picture to use", name)
    for path in folder.left():
        folder.skip("picture without an annotation", path)
    return tuple(sorted({name for item in items for name in item.picture.names})), items


def read_yolo(folder: Folder) -> tuple[Classes, list[Item]]:
    """A text file per picture; a picture without one has no objects, and is kept as background.

    Raises:
        ValueError: an object's class has no name.
    """
    names, lists = yolo.find_names(folder.files)
    splits, split_lists = _yolo_lists(folder)
    items = []
    for text in folder.ending(".txt"):
        is_list = text in lists or text in split_lists
        path = None if is_list else folder.take([text.stem], text.parent, text)
        if path is None:
            continue
        try:
            labels, boxes = yolo.read(text)
        except ValueError:
            folder.skip("annotation file that is not in YOLO's form", text)
            continue
        if unknown := set(labels) - names.keys():
            known = names or "in no data.yaml, classes.txt or *.names"
            raise ValueError(f"{text} has class {min(unknown)}; the names are {known}")
        picture = _yolo_picture(text, [names[label] for label in labels], boxes)
        items.append(folder.item(path, splits.get(path.name, folder.split(path)), picture))
    for path in folder.left():
        empty = _yolo_picture(path, [], np.zeros((0, 4)))
        items.append(folder.item(path, splits.get(path.name, folder.split(path)), empty))
    return tuple(names.values()), items


def read_coco(folder: Folder) -> tuple[Classes, list[Item]]:
    """Json files in COCO's `instances` form; the split is in their name, their folder, or that of
    the picture.

    Raises:
        ValueError: a file lists images or annotations without what they must have.
    """
    classes, items = {}, []
    for file in folder.ending(".json"):
        try:
            names, images, things = coco.read(file)
        except ValueError as error:
            folder.skip(str(error).replace(str(file), "json file that"), file)
            continue
        classes |= dict.fromkeys(names.values())
        for image in images:
            try:
                item = _coco_item(folder, file, image, things.get(image["id"], []), names)
            except (KeyError, TypeError) as error:
                raise ValueError(f"{file}: {image} or its annotations: {error!r}") from error
            items += [item] if item else []
    for path in folder.left():
        folder.skip("picture that no json file lists", path)
    return tuple(classes), items


def _voc_lists(folder: Folder) -> dict[str, str] | None:
    """The split of every name in the lists; None where there are no lists."""
    lists = [path for path in folder.files if path.parts[-3:-1] == ("ImageSets", "Main")]
    splits = {"trainval": "train", "train": "train", "val": "val", "test": "test"}
    stems = {xml.stem for xml in folder.files if xml.suffix.lower() == ".xml"}
    found = {}
    # What two lists name goes to the later split: never train on what tests.
    for name, split in splits.items():
        for path in lists:
            if path.name == f"{name}.txt":
                rows = path.read_text("utf-8-sig").splitlines()
                found |= {_listed(row.strip(), stems): split for row in rows if row.strip()}
    return found if lists else None


def _listed(row: str, stems: set[str]) -> str:
    """Which of `stems` a row of a list names: plainly, with an ending, or with the devkit's flag
    (1, 0 or -1: whether a class is there); the row itself where none."""
    plain = re.sub(r"\s+-?[01]$", "", row)
    names = (pathlib.PurePath(each) for each in (row, plain))
    forms = [form for path in names for form in (path.name, path.stem)]
    return next((form for form in forms if form in stems), row)


def _yolo_lists(folder: Folder) -> tuple[dict[str, str], set[pathlib.Path]]:
    """The split by a picture's file name, as Darknet's lists of paths have it (train.txt), and
    these lists; of what two name, the later split counts."""
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


def _without_clicks(picture: Picture) -> Picture:
    """A picture whose boxes of one pixel are empty, for `check` to leave them out.

    Labelling tools write xmin = xmax where somebody clicked and drew nothing; by VOC's way of
    counting that is a pixel.
    """
    height, width = picture.size
    pixels = (picture.boxes[:, 2:] - picture.boxes[:, :2]) * [width, height]
    clicks = (pixels < 1.5).any(axis=1, keepdims=True)
    boxes = np.where(clicks, picture.boxes[:, [0, 1, 0, 1]], picture.boxes)
    return dataclasses.replace(picture, boxes=boxes)


def _yolo_picture(file: pathlib.Path, names: list[str], boxes: np.ndarray) -> Picture:
    return Picture(
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
    path = folder.take([name.name, name.stem], file.parent / name.parent, image["file_name"])
    if path is None:
        return None
    boxed = [thing for thing in things if len(thing.get("bbox") or ()) == 4]
    for _ in range(len(things) - len(boxed)):
        folder.skip("object without a box", path)
    split = split_of_file(file) or folder.split(file) or folder.split(path)
    return folder.item(path, split, coco.parse(image, boxed, names))
