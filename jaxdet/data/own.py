"""Makes a folder of the user's own images the sources of a new dataset: NAME/train, NAME/val."""

import collections
import dataclasses
import hashlib
import pathlib
from functools import partial

import grain

from jaxdet.data.check import Example, Problems
from jaxdet.data.folder import Folder, Item
from jaxdet.data.forms import Classes, read_coco, read_voc, read_yolo
from jaxdet.data.source import Source

FORMATS = {
    "voc": (read_voc, "an .xml file per image, with `object` elements"),
    "coco": (read_coco, "a .json file with `images`, `annotations` and `categories`"),
    "yolo": (
        read_yolo,
        "a .txt file per image, with lines `class cx cy width height`, and the names of the "
        "classes in a data.yaml, classes.txt or *.names",
    ),
}


@dataclasses.dataclass(frozen=True)
class Scan:
    """The contents of a folder."""

    root: pathlib.Path
    classes: Classes
    splits: dict[str, list[Item]]  # the non-empty ones of train, val and test
    chosen: int  # how many images of val were taken from train by `scan`
    skipped: Problems  # what was left out, and why


def scan(format: str, root: pathlib.Path, *, val: float) -> Scan:
    """Read all annotations of a folder, without reading images; `format` is one of FORMATS.

    The folder's own splits are kept; without any, everything is `train`. Where there is no `val`
    split, a fraction `val` (0..1) of `train` is moved to it, chosen by a hash of the names so that
    it is the same on every machine.

    Raises:
        ValueError: the folder has no objects in that format, or its annotations are inconsistent.
    """
    if not 0 <= val < 1:
        raise ValueError(f"val is {val:g}, expected a fraction from 0 to below 1")
    folder = Folder(root)
    read, expected = FORMATS[format]
    classes, items = read(folder)
    if not any(item.example.names for item in items):
        endings = collections.Counter(
            path.suffix.lower() or "no extension" for path in folder.files
        )
        holds = ", ".join(f"{number} {ending}" for ending, number in endings.most_common(5))
        raise ValueError(
            f"{root} holds no objects in {format} format, expected {expected}; "
            + "; ".join([f"found {holds or 'no files'}", *lines(folder.skipped)])
        )
    splits = _splits(items, folder)
    chosen = _choose_val(splits, val)
    filled = {split: items for split, items in splits.items() if items}
    return Scan(root, classes, filled, chosen, folder.skipped)


def sources(scan: Scan, name: str) -> list[Source]:
    """Return a source NAME/SPLIT for each split; its origin changes when the annotations do."""
    found = []
    for split, items in scan.splits.items():
        origin = {"root": str(scan.root.resolve()), "sha256": _digest(scan.classes, items)}
        found.append(Source(f"{name}/{split}", origin, partial(_load, scan.classes, items)))
    return found


def lines(problems: Problems) -> list[str]:
    """Format the problems, one line per reason with its count and first file."""
    return [
        f"{reason}: {entry['count']:,} (first: {entry['files'][0]})"
        for reason, entry in problems.items()
    ]


def _splits(items: list[Item], folder: Folder) -> dict[str, list[Item]]:
    if all(item.split is None for item in items):
        return {"train": items, "val": [], "test": []}
    for item in items:
        if item.split is None:
            folder.skip("image in no list or folder of train, val or test", item.path)
    return {
        split: [item for item in items if item.split == split] for split in ("train", "val", "test")
    }


def _choose_val(splits: dict[str, list[Item]], fraction: float) -> int:
    """Move a fraction of `train`, at least one image, to an empty `val`; returns how many."""
    train = splits["train"]
    if splits["val"] or not fraction or len(train) < 2:
        return 0
    number = max(1, round(fraction * len(train)))
    ordered = sorted(train, key=lambda item: hashlib.sha256(item.example.id.encode()).digest())
    splits["val"], splits["train"] = ordered[:number], ordered[number:]
    return number


def _digest(classes: Classes, items: list[Item]) -> str:
    """Return a checksum of all annotations and of the names and sizes of the image files."""
    digest = hashlib.sha256(repr(classes).encode())
    for item in sorted(items, key=lambda item: item.example.id):
        each = item.example
        fields = (each.id, item.path.stat().st_size, each.size, each.names, each.boxes.tolist())
        digest.update(repr((*fields, each.difficult.tolist(), each.crowd.tolist())).encode())
    return digest.hexdigest()


def _load(classes: Classes, items: list[Item], downloads: pathlib.Path):
    return classes, grain.MapDataset.source(items).map(_with_bytes)


def _with_bytes(item: Item) -> Example:
    return dataclasses.replace(item.example, encoded=item.path.read_bytes())
