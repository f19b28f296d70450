"""COCO 2017 and 2014: `coco_2017_train`, `coco_2017_val`, `coco_2014_...`."""

import dataclasses
import functools
import pathlib
import re

import grain

from jaxdet.data import coco_json
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
    content = coco_json.read(annotations)
    images = grain.MapDataset.source(content.images)
    return tuple(content.names.values()), images.map(functools.partial(_read, folder=folder))


def _read(example: Example, *, folder: pathlib.Path) -> Example:
    file = folder / example.file
    encoded = file.read_bytes() if file.is_file() else None
    return dataclasses.replace(example, file=str(file), encoded=encoded)


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
