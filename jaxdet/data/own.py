"""Makes a folder of the user's own images the sources of a new dataset: NAME/train, NAME/val."""

import collections
import dataclasses
import hashlib
import itertools
import pathlib
import re
from functools import partial

import grain
import numpy as np

from jaxdet.data import check as checks
from jaxdet.data import units
from jaxdet.data.check import OTHER_SIZE, Checked, Example, Problems, check_all, note
from jaxdet.data.folder import Folder, Item
from jaxdet.data.forms import Classes, read_coco, read_voc, read_yolo, without_single_clicks
from jaxdet.data.source import Source
from jaxdet.data.splits import SPLITS

FORMATS = {
    "voc": (read_voc, "an .xml file per image, with `object` elements"),
    "coco": (read_coco, "a .json file with `images`, `annotations` and `categories`"),
    "yolo": (
        read_yolo,
        "a .txt file per image, with lines `class cx cy width height`, and the names of the "
        "classes in a data.yaml, classes.txt or *.names",
    ),
}
ALL_LOST = "image without a usable box among those that it has, left out"
_RESIZED = 0.2  # a larger share of boxes outside the images shows that these were resized
NO_SPLIT = "image in no list or folder of train, val or test"


@dataclasses.dataclass(frozen=True)
class Reading:
    """The annotations of a folder, unchecked."""

    folder: Folder  # what was left out, and what was read otherwise than it stands
    format: str
    classes: Classes
    splits: dict[str, list[Item]]  # train, val and test
    val: float  # the share of the training images that is to become val
    origin: dict[str, str]  # changes when the annotations do


@dataclasses.dataclass(frozen=True)
class Entry:
    """An image file and its checked annotation."""

    item: Item
    checked: Checked  # its example without the bytes of the image


@dataclasses.dataclass(frozen=True)
class Scan:
    """The checked contents of a folder."""

    reading: Reading
    splits: dict[str, list[Entry]]  # the non-empty ones of train, val and test
    chosen: int  # how many images of val were taken from train
    warning: str | None  # what seems wrong with the boxes as a whole


def read(format: str, root: pathlib.Path, *, val: float, background: bool = False) -> Reading:
    """Read all annotations of a folder, and no images; `format` is one of FORMATS.

    The folder's own splits are kept; without any, everything is `train`. With `background`, images
    without an annotation are kept (those of YOLO's format always are).

    Raises:
        ValueError: the folder has no objects in that format, its annotations are inconsistent, or
            images are left over and none is for training.
    """
    if not 0 <= val < 1:
        raise ValueError(f"val is {val:g}, expected a fraction from 0 to below 1")
    folder = Folder(root)
    reader, expected = FORMATS[format]
    classes, items = reader(folder, background=background)
    if not any(item.example.names for item in items):
        raise ValueError(
            f"{root} holds no objects in {format} format, expected {expected}; "
            + "; ".join([f"found {_endings(folder)}", *lines(folder.skipped)])
        )
    _note_alike(classes, folder)
    splits = _splits(items, folder)
    origin = {"root": str(root.resolve()), "sha256 of the annotations": _digest(classes, splits)}
    if splits["val"]:
        val = 0.0
    elif val:
        origin["--val"] = f"{val:g}"
    return Reading(folder, format, classes, splits, val, origin)


def check(reading: Reading) -> Scan:
    """Check all images and boxes of a folder.

    Where there is no `val` split, a fraction of `train` is moved to it, chosen by a hash of the
    names so that it is the same on every machine.

    Raises:
        ValueError: no box is usable, or the boxes are in another unit.
    """
    items = [item for each in reading.splits.values() for item in each]
    examples = [item.example for item in items]
    checked = _check(items, reading.classes, reading.format)
    warning = units.look(examples, checked, reading.format)
    checked = list(map(_without_lost, checked))
    if not any(len(each.annotation.labels) for each in checked if each.annotation):
        problems: Problems = {}
        for each in checked:
            note(problems, each)
        number = sum(len(each.names) for each in examples)
        raise ValueError(
            f"{reading.folder.root}: none of {number:,} boxes is usable: "
            + "; ".join(lines(problems))
        )
    entries = map(Entry, items, checked)
    splits = {
        split: list(itertools.islice(entries, len(each))) for split, each in reading.splits.items()
    }
    chosen = _choose_val(splits, reading.val)
    filled = {split: each for split, each in splits.items() if _usable(split, each, reading.folder)}
    return Scan(reading, filled, chosen, warning)


def sources(scan: Scan, name: str) -> list[Source]:
    """Return a source NAME/SPLIT for each split."""
    reading = scan.reading
    return [
        Source(f"{name}/{split}", reading.origin, partial(_load, reading.classes, each))
        for split, each in scan.splits.items()
    ]


def lines(problems: Problems) -> list[str]:
    """Format the problems, one line per reason with its count and first file."""
    return [
        f"{reason}: {entry['count']:,} (first: {entry['files'][0]})"
        for reason, entry in problems.items()
    ]


def _note_alike(classes: Classes, folder: Folder) -> None:
    """Note classes that are probably one, spelt in two ways."""
    plain = collections.defaultdict(list)
    for name in classes:
        plain[re.sub("[ _-]+", " ", name.casefold())].append(name)
    for names in plain.values():
        if len(names) > 1:
            folder.note("classes that differ only in capitals, spaces or hyphens", names)


def _endings(folder: Folder) -> str:
    endings = collections.Counter(path.suffix.lower() or "no extension" for path in folder.files)
    return ", ".join(f"{n} {ending}" for ending, n in endings.most_common(5)) or "no files"


def _splits(items: list[Item], folder: Folder) -> dict[str, list[Item]]:
    if all(item.split is None for item in items):
        return {"train": items, "val": [], "test": []}
    splits = {split: [item for item in items if item.split == split] for split in SPLITS}
    left = [item for item in items if item.split is None]
    for item in left:
        folder.skip(NO_SPLIT, item.path)
    if left and not splits["train"]:
        counts = ", ".join(f"{len(each):,} are {split}" for split, each in splits.items() if each)
        places = sorted({"/".join(folder.folders(item.path)) or "." for item in left})
        raise ValueError(
            f"no image of {folder.root} is for training: {counts}, and {len(left):,} are in no "
            f"list or folder of train, val or test (in {', '.join(places[:5])}); expected a folder "
            "called train, or a list or JSON file of that name"
        )
    return splits


def _check(items: list[Item], classes: Classes, format: str) -> list[Checked]:
    """Check all images and boxes; see `check.check` for annotations of another size.

    Whether pixels are those of the image or of the size that the annotation states is decided for
    the whole set: by the share of boxes that are in the stated size and not in the image's own.
    """
    without_clicks = format == "voc"
    checked = _run(items, classes, without_clicks=without_clicks, resized=False)
    other = [n for n, each in enumerate(checked) if OTHER_SIZE in each.problems]
    boxes = [_only_in_stated(items[n].example, checked[n]) for n in other]
    if other and np.concatenate(boxes).sum() > _RESIZED * sum(map(len, boxes)):
        again = [items[n] for n in other]
        again = _run(again, classes, without_clicks=without_clicks, resized=True)
        for n, each in zip(other, again, strict=True):
            checked[n] = each
    return checked


def _run(
    items: list[Item], classes: Classes, *, without_clicks: bool, resized: bool
) -> list[Checked]:
    load = partial(_checked, classes=classes, without_clicks=without_clicks, resized=resized)
    examples = grain.MapDataset.source(items).map(load)
    return list(check_all(examples, classes, "images", verb="Checking"))


def _checked(item: Item, classes: Classes, *, without_clicks: bool, resized: bool) -> Checked:
    example = without_single_clicks(item.example) if without_clicks else item.example
    example = dataclasses.replace(example, encoded=item.path.read_bytes())
    found = checks.check(example, classes, resized=resized)
    return dataclasses.replace(found, example=dataclasses.replace(example, encoded=None))


def _without_lost(checked: Checked) -> Checked:
    """Leave an image out whose objects are all lost: it is not one without objects."""
    annotation, given = checked.annotation, checked.example.names
    if annotation is None or len(annotation.labels) or not given:
        return checked
    return dataclasses.replace(checked, annotation=None, problems=[*checked.problems, ALL_LOST])


def _choose_val(splits: dict[str, list[Entry]], fraction: float) -> int:
    """Move a fraction of `train`, at least one image, to an empty `val`; returns how many.

    Only images that can be used are moved.
    """
    usable = [entry for entry in splits["train"] if entry.checked.annotation is not None]
    if splits["val"] or not fraction or len(usable) < 2:
        return 0
    number = max(1, round(fraction * len(usable)))
    digest = lambda entry: hashlib.sha256(entry.item.example.id.encode()).digest()
    splits["val"] = sorted(usable, key=digest)[:number]
    moved = {entry.item.path for entry in splits["val"]}
    splits["train"] = [entry for entry in splits["train"] if entry.item.path not in moved]
    return number


def _usable(split: str, entries: list[Entry], folder: Folder) -> bool:
    """Return whether a split has an image; what is wrong with one that has none is recorded."""
    if any(entry.checked.annotation is not None for entry in entries):
        return True
    for entry in entries:
        for reason in entry.checked.problems:
            folder.skip(f"{split}: {reason}", entry.item.path)
    return False


def _only_in_stated(example: Example, checked: Checked) -> np.ndarray:
    """Return which boxes lie in the size that their annotation states, not in the image's own."""
    own = [checked.annotation.width, checked.annotation.height]
    ends = example.boxes[:, 2:]
    inside = (ends <= np.array(example.size[::-1]) + 2).all(1)
    return inside & (ends > np.array(own) + 2).any(1)


def _digest(classes: Classes, splits: dict[str, list[Item]]) -> str:
    """Return a checksum of all annotations and of the names and sizes of the image files."""
    digest = hashlib.sha256(repr(classes).encode())
    items = [item for each in splits.values() for item in each]
    for item in sorted(items, key=lambda item: item.example.id):
        each = item.example
        fields = (each.id, item.path.stat().st_size, each.size, each.names, each.boxes.tolist())
        fields += (each.difficult.tolist(), each.crowd.tolist())
        digest.update(repr((*fields, item.split)).encode())
    return digest.hexdigest()


def _load(classes: Classes, entries: list[Entry], downloads: pathlib.Path):
    return classes, grain.MapDataset.source(entries).map(_with_bytes)


def _with_bytes(entry: Entry) -> Checked:
    encoded = entry.item.path.read_bytes()
    example = dataclasses.replace(entry.checked.example, encoded=encoded)
    return dataclasses.replace(entry.checked, example=example)
