"""COCO 2017 and 2014: `coco_2017_train`, `coco_2017_val`, `coco_2014_...`."""

import collections
import dataclasses
import functools
import json
import pathlib
import re
from typing import Any

import grain
import numpy as np

from jaxdet.data.check import Example
from jaxdet.data.source import Foreign, Source, fetch, sha256

CLASSES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog",
    "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella",
    "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite",
    "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange",
    "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant",
    "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone",
    "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
NAMES = "coco_(2014|2017)_(train|val)"
_SITE = "http://images.cocodataset.org/"


def find(name: str, root: pathlib.Path | None) -> list[Source] | None:
    """Return the source of a COCO split; None if the name is not a COCO name.

    Raises:
        ValueError: the root has no annotations for the split.
    """
    match = re.fullmatch(r"coco_(2014|2017)_(train|val)", name)
    if not match:
        return None
    year, split = match.groups()
    return [_downloaded(year, split) if root is None else _on_disk(year, split, root)]


def examples(
    annotations: pathlib.Path, folder: pathlib.Path
) -> tuple[tuple[str, ...], grain.MapDataset]:
    """Return the class names and the examples of a file in COCO's `instances` format.

    Raises:
        ValueError: the file is not in that format, or its classes or ids are inconsistent.
    """
    names, images, things = read(annotations)
    example = functools.partial(_example, things=things, names=names, folder=folder)
    return tuple(names.values()), grain.MapDataset.source(images).map(example)


def read(
    annotations: pathlib.Path,
) -> tuple[dict[int, str], list[dict[str, Any]], dict[int, list[dict[str, Any]]]]:
    """Read the classes, images, and annotations by image of a file in COCO's `instances` format.

    The classes are ordered by their id in the file; gaps between ids do not matter.

    Raises:
        ValueError: the file is not in that format, or its classes or ids are inconsistent.
    """
    try:
        content = json.loads(annotations.read_bytes())
        categories = sorted(content["categories"], key=lambda category: category["id"])
        names = {category["id"]: category["name"].strip() for category in categories}
        things = collections.defaultdict(list)
        for thing in content["annotations"]:
            things[thing["image_id"]].append(thing)
        images = content["images"]
        listed = collections.Counter(image["id"] for image in images)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{annotations} is not in COCO's format: {error!r}") from error
    if len(set(names.values())) < len(categories):
        raise ValueError(f"{annotations} has two categories with the same id or name: {categories}")
    if twice := [id for id, times in listed.items() if times > 1]:
        raise ValueError(f"{annotations} lists several images with the same id: {twice[:5]}")
    if unknown := things.keys() - listed.keys():
        few = sorted(unknown)[:5]
        raise ValueError(f"{annotations} has annotations of images that it does not list: {few}")
    return names, images, things


def parse(image: dict[str, Any], things: list[dict[str, Any]], names: dict[int, str]) -> Example:
    """Return the example of a listed image and its annotations; the image file is not read."""
    height, width = image["height"], image["width"]
    corner_and_size = np.array([thing["bbox"] for thing in things], np.float64).reshape(-1, 4)
    corners = corner_and_size + np.pad(corner_and_size[:, :2], ((0, 0), (2, 0)))
    return Example(
        id=str(image["id"]),
        file=image["file_name"],
        encoded=None,
        size=(height, width),
        boxes=corners / [width, height, width, height],
        names=[_name(names, thing["category_id"], image["file_name"]) for thing in things],
        difficult=np.zeros(len(things), bool),
        crowd=np.array([thing.get("iscrowd", 0) for thing in things], bool),
        area=np.array([thing.get("area", np.nan) for thing in things], np.float64),
    )


def _example(
    image: dict[str, Any],
    *,
    things: dict[int, list[dict[str, Any]]],
    names: dict[int, str],
    folder: pathlib.Path,
) -> Example:
    file = folder / image["file_name"]
    encoded = file.read_bytes() if file.is_file() else None
    try:
        example = parse(image, things.get(image["id"], []), names)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{image} or its annotations: {error!r}") from error
    return dataclasses.replace(example, file=str(file), encoded=encoded)


def _name(names: dict[int, str], number: int, file: str) -> str:
    if number not in names:
        raise ValueError(f"an object in {file} has category {number}, expected one of {names}")
    return names[number]


def _on_disk(year: str, split: str, root: pathlib.Path) -> Source:
    annotations = root / "annotations" / f"instances_{split}{year}.json"
    if not annotations.is_file():
        found = sorted(path.name for path in root.glob("annotations/instances_*.json"))
        raise ValueError(f"no {annotations.name} in {root}/annotations; found {found or 'none'}")
    origin = {"root": str(root.resolve()), f"sha256 of {annotations.name}": sha256(annotations)}
    folder = root / f"{split}{year}"
    return Source(f"coco_{year}_{split}", origin, lambda downloads: examples(annotations, folder))


def _downloaded(year: str, split: str) -> Source:
    def load(downloads: pathlib.Path):
        archives = ["annotations/annotations_trainval" + year, f"zips/{split}{year}"]
        jsons, images = fetch([f"{_SITE}{archive}.zip" for archive in archives], downloads)
        file = jsons / "annotations" / f"instances_{split}{year}.json"
        return examples(file, images / f"{split}{year}")

    foreign = Foreign(f"coco/{year}", {"val": "validation"}.get(split, split), one_based=False)
    return Source(f"coco_{year}_{split}", None, load, foreign)
