"""Reads a folder of annotations in one of the common formats: VOC XML, YOLO text, COCO JSON.

Each function reads only annotations, no images, and returns the ordered class names and the usable
images. What cannot be used is recorded in the folder.
"""

import dataclasses
import pathlib

import numpy as np

from jaxdet.data import coco_json, voc_xml, yolo
from jaxdet.data.check import Example
from jaxdet.data.folder import Folder, Item, empty, example
from jaxdet.data.matching import Claim, parts
from jaxdet.data.splits import List, folder_or_file, read_rows, split_of_file

Classes = tuple[str, ...]
OTHER_NAME = "`filename` that names another image than the name of its file, which is used"


def read_voc(folder: Folder, *, background: bool = False) -> tuple[Classes, list[Item]]:
    """Read one XML file per image; splits come from lists in `ImageSets/Main`, if any.

    The image is the one with the name of the XML file or, without one, that of its `filename`.
    """
    found, claims = [], []
    for xml in folder.with_suffix(".xml"):
        try:
            annotation = voc_xml.read(xml)
        except ValueError as error:
            reason = "file that is not an annotation in VOC's format"
            folder.skip(reason, str(error).replace(" is not an annotation in VOC's format", ""))
            continue
        *stated, name = parts(annotation.file_name) or [""]
        same = pathlib.PurePath(name).stem == xml.stem or name == xml.stem
        names = (name,) if same else (xml.stem, *([name] if name else []))
        found.append((xml, annotation))
        hint = tuple(parts(annotation.folder))
        claims.append(Claim(xml, (*folder.folders(xml), *stated), names, hint=hint))
    paths = folder.match(claims)
    items, meant = [], {}
    for (xml, annotation), claim, path in zip(found, claims, paths, strict=True):
        meant[xml] = path
        if path is not None:
            items.append((xml, path, annotation.example))
            if len(claim.names) > 1 and path.stem == xml.stem and folder.has(claim.names[1]):
                folder.note(OTHER_NAME, f"{xml}: {claim.names[1]}")
    lists = folder.lists(xml.stem for xml in meant)
    splits = _listed(folder, lists, len(items), meant)
    items = [folder.item(path, each, splits, near=xml) for xml, path, each in items]
    items += _background(folder, splits, background=background)
    return tuple(sorted({name for item in items for name in item.example.names})), items


def read_yolo(folder: Folder, *, background: bool = True) -> tuple[Classes, list[Item]]:
    """Read one text file per image; an image without one is kept as background, with no objects.

    Raises:
        ValueError: an object's class has no name.
    """
    described = yolo.descriptions(folder.files)
    for each in described:
        if each.problem:
            folder.skip("yaml file that describes no dataset", f"{each.file} {each.problem}")
    names = yolo.names_of(described)
    lists = _all_lists(folder, described)
    others = {each.file for each in (*described, *lists)}
    texts = [path for path in folder.with_suffix(".txt") if path not in others]
    claims = [Claim(text, folder.folders(text), (text.stem,)) for text in texts]
    keypoints = _keypoints(described)
    items = []
    for text, path in zip(texts, folder.match(claims), strict=True):
        if path is None:
            continue
        each = _yolo_example(folder, text, names, keypoints)
        if each is not None:
            items.append((text, path, each))
    splits = _listed(folder, lists, len(items), {})
    _note_counts(folder, described)
    items = [folder.item(path, each, splits, near=text) for text, path, each in items]
    return tuple(names.values()), items + _background(folder, splits, background=True)


def read_coco(folder: Folder, *, background: bool = False) -> tuple[Classes, list[Item]]:
    """Read JSON files in COCO's `instances` format.

    The split comes from the file's name, its folder, or the folder of the image.

    Raises:
        ValueError: a file of that format is inconsistent.
    """
    classes, images, claims = {}, [], []
    for file in folder.with_suffix(".json"):
        try:
            content = coco_json.read(file, folder.skip)
        except coco_json.NotCoco as error:
            folder.skip("JSON file that is not in COCO's format", error)
            continue
        classes |= dict.fromkeys(content.names.values())
        for name in content.parents:
            folder.note("parent category without objects, no class", f"{name} in {file}")
        split = split_of_file(file) or folder.split(file)
        for each in content.images:
            *stated, name = parts(each.file)
            exact = folder.exact([*stated, name], file.parent)
            claims.append(Claim(each.file, (*folder.folders(file), *stated), (name,), exact, split))
            images.append(dataclasses.replace(each, file=f"{file}: {each.file}"))
    items = [
        folder.item(path, each, {}, split=claim.split)
        for path, each, claim in zip(folder.match(claims), images, claims, strict=True)
        if path is not None
    ]
    return tuple(classes), items + _background(folder, {}, background=background)


def _background(folder: Folder, splits: dict, *, background: bool) -> list[Item]:
    """Return the items of images without an annotation, and note how many there are."""
    kept = folder.unmatched(background=background)
    for path in kept:
        folder.note("image without an annotation, kept as background", path)
    return [folder.item(path, empty(path), splits) for path in kept]


def _listed(
    folder: Folder, lists: list[List], images: int, meant: dict[pathlib.Path, pathlib.Path | None]
) -> dict[pathlib.Path, str]:
    splits = folder.listed(lists, meant)
    if lists and images and not splits:
        raise ValueError(
            f"{lists[0].file} names none of the {images:,} annotated images of {folder.root}; the "
            f"first name there is {lists[0].rows[0]!r}"
        )
    return splits


def _all_lists(folder: Folder, described: list[yolo.Description]) -> list[List]:
    """Return what data.yaml or obj.data say about splits, then the lists found by their names."""
    stated = []
    for each in described:
        for key, split in (("train", "train"), ("val", "val"), ("valid", "val"), ("test", "test")):
            value = each.content.get(key)
            entries = value if isinstance(value, list) else [value] if value else []
            for entry in entries:
                found = _stated(folder, each, str(entry), split)
                if found is None:
                    what = f"{each.file}: {key}: {entry}"
                    folder.skip("split that the yaml file states and that is not here", what)
                else:
                    stated.append(found)
    train = {row for each in stated if each.split == "train" for row in each.rows}
    other = {row for each in stated if each.split != "train" for row in each.rows}
    if train and train <= other:
        folder.note("yaml file that gives all images of train to val or test too", stated[0].file)
        stated = [each for each in stated if each.split == "train"]
    named = folder.lists([])
    return stated + [each for each in named if each.file not in {one.file for one in stated}]


def _stated(folder: Folder, each: yolo.Description, entry: str, split: str) -> List | None:
    """Return the list of images that an entry of a yaml file names: a folder, or a text file."""
    base = each.file.parent
    bases = [base / str(each.content.get("path") or ""), base, folder.root]
    path = folder_or_file(entry, bases, folder.root, folder.files)
    if path is None:
        return None
    if path.is_file():
        rows = read_rows(path, {image.stem for image in folder.paths})
        return List(path, split, path.parent, rows) if rows else None
    inside = [image for image in folder.paths if image.is_relative_to(path)]
    rows = tuple(image.relative_to(folder.root).as_posix() for image in inside)
    return List(each.file, split, folder.root, rows) if rows else None


def _note_counts(folder: Folder, described: list[yolo.Description]) -> None:
    for each in described:
        count = each.content.get("nc", each.content.get("classes"))
        if each.names and count is not None and str(count) != str(len(each.names)):
            what = f"{each.file}: nc is {count}, {len(each.names)} names"
            folder.note("number of classes that disagrees with the names, which are used", what)


def _keypoints(described: list[yolo.Description]) -> tuple[int, int] | None:
    shapes = [each.content.get("kpt_shape") for each in described]
    shapes = [tuple(shape) for shape in shapes if isinstance(shape, list) and len(shape) == 2]
    return shapes[0] if shapes and all(type(side) is int for side in shapes[0]) else None


def _yolo_example(
    folder: Folder, text: pathlib.Path, names: dict[int, str], keypoints: tuple[int, int] | None
) -> Example | None:
    try:
        labels, boxes, notes = yolo.read(text, names, keypoints)
    except UnicodeDecodeError as error:
        folder.skip("annotation file that is not text", f"{text}: {error}")
        return None
    if unknown := set(labels) - names.keys():
        named = (
            f"the names are {names}"
            if names
            else "found no names of classes in a data.yaml, classes.txt or *.names"
        )
        raise ValueError(f"{text} has class {min(unknown)}; {named}")
    if notes and not labels:  # to keep the image as background would be wrong
        for reason, found in notes:
            folder.skip(reason, f"{text}: {found}")
        folder.skip("image of an annotation file without a usable line", text)
        return None
    return example(str(text), [names[label] for label in labels], boxes, notes=notes)


def without_single_clicks(example: Example) -> Example:
    """Make one-pixel boxes empty, so that `check` leaves them out.

    Labelling tools write xmin = xmax where somebody clicked without drawing; VOC counts that as
    one pixel.
    """
    clicks = ((example.boxes[:, 2:] - example.boxes[:, :2]) < 1.5).any(axis=1, keepdims=True)
    boxes = np.where(clicks, example.boxes[:, [0, 1, 0, 1]], example.boxes)
    return dataclasses.replace(example, boxes=boxes)
