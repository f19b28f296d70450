"""Which images are for training, validation and testing: what folders, lists and yaml files say."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Iterator, Sequence

from jaxdet.data.images import EXTENSIONS

SPLITS = ("train", "val", "test")
_WORDS = {
    "train": "train", "training": "train", "trainval": "train", "trn": "train",
    "val": "val", "valid": "val", "validation": "val", "validate": "val",
    "test": "test", "testing": "test", "tst": "test",
}  # fmt: skip
_GENERIC = {  # words beside which one of _WORDS still names a split: `train_images`
    "images", "image", "imgs", "img", "labels", "label", "annotations", "annotation", "data",
    "dataset", "set", "sets", "split", "jpg", "jpeg", "png", "pictures", "photos", "frames", "part",
    "dev", "voc", "coco", "yolo", "obj",
}  # fmt: skip
_OTHER_LISTS = {"Layout", "Segmentation", "Action"}  # folders of ImageSets that are not for boxes


def split_of_folders(folders: Sequence[str]) -> str | None:
    """Return the split that the last possible folder names: `valid`, `train_images`, `val2017`."""
    for name in reversed(folders):
        words = _words(name)
        found = {_WORDS[word] for word in words if word in _WORDS}
        if len(found) == 1 and all(word in _WORDS or word in _GENERIC for word in words):
            return found.pop()
    return None


def split_of_file(path: pathlib.Path) -> str | None:
    """Return the split that a word in the file name gives: `instances_train2017.json`."""
    return next((_WORDS[word] for word in _words(path.stem) if word in _WORDS), None)


@dataclasses.dataclass(frozen=True)
class List:
    """A text file of the images of a split: a path, name or name without extension per line."""

    file: pathlib.Path
    split: str
    base: pathlib.Path  # the folder that the lines are relative to
    rows: tuple[str, ...]


def lists(files: Sequence[pathlib.Path], stems: set[str]) -> Iterator[List]:
    """Yield the files that are called like a split (`train.txt`) and list images.

    `stems` are the names of images or annotations, without extension: a line without an extension
    lists an image only if it is one of them, unless the file is in `ImageSets`.
    """
    for path in files:
        split = _WORDS.get(path.stem.lower().rstrip("0123456789"))
        if split is None or path.suffix.lower() != ".txt" or path.parent.name in _OTHER_LISTS:
            continue
        in_sets = "ImageSets" in path.parts
        rows = read_rows(path, stems)
        if rows and (in_sets or all(_is_entry(row, stems) for row in rows)):
            base = path.parent
            if in_sets:
                base = next(each.parent for each in path.parents if each.name == "ImageSets")
            yield List(path, split, base, rows)


def read_rows(path: pathlib.Path, stems: set[str]) -> tuple[str, ...]:
    """Return the lines of a list, without the flags (1, 0 or -1) that VOC's may have."""
    lines = (line.strip() for line in path.read_text("utf-8-sig", "replace").splitlines())
    return tuple(_plain(line, stems) for line in lines if line and not line.startswith("#"))


def folder_or_file(
    stated: str, bases: Sequence[pathlib.Path], root: pathlib.Path, files: Sequence[pathlib.Path]
) -> pathlib.Path | None:
    """Return the folder or file below `root` that a path in a yaml file names; None if none does.

    It is looked for below each of `bases`, then by the longest end of the path that exists: the
    path may be another machine's, or begin with `../` as in Roboflow's exports.
    """
    stated = stated.strip().replace("\\", "/").partition("*")[0]  # `images/train/*.jpg`
    for base in bases:
        path = pathlib.Path(os.path.normpath(base / stated))
        if path.is_relative_to(root) and path.exists():
            return path
    names = [name for name in stated.split("/") if name not in ("", ".", "..")]
    known = {*files, *(parent for path in files for parent in path.parents)}
    known = [path for path in known if path.is_relative_to(root) and path != root]
    for length in range(len(names), 0, -1):
        dropped, end = names[:-length], tuple(names[-length:])
        found = [path for path in known if path.relative_to(root).parts[-length:] == end]
        if found:
            # `../valid/images` is not `train/images`, though both end in `images`.
            vague = any(map(split_of_word, dropped)) or len(found) > 1
            return None if vague else found[0]
    return None


def split_of_word(name: str) -> str | None:
    """Return the split of a single folder name."""
    return split_of_folders([name])


def _is_entry(row: str, stems: set[str]) -> bool:
    suffix = pathlib.PurePath(row.replace("\\", "/")).suffix.lower()
    return suffix in EXTENSIONS or suffix == ".xml" or row in stems


def _plain(row: str, stems: set[str]) -> str:
    plain = re.sub(r"\s+-?[01]$", "", row)
    return plain if row not in stems and pathlib.PurePath(plain).stem in stems else row


def _words(name: str) -> list[str]:
    return re.findall("[a-z]+", re.sub("([a-z])([A-Z])", r"\1 \2", name).lower())
