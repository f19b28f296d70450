"""A folder of the user's own images: finds the images and matches annotations to them."""

import dataclasses
import os
import pathlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import cv2
from tqdm import tqdm

from jaxdet.data.check import Example, Problems, count

IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
_TEXTS = {".xml", ".json", ".txt", ".yaml", ".yml", ".names", ".csv", ".md"}
_SPLITS = {
    "train": "train", "training": "train", "trainval": "train",
    "val": "val", "valid": "val", "validation": "val", "test": "test", "testing": "test",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Item:
    """An image file that is not read yet, with its annotation."""

    path: pathlib.Path
    split: str | None  # train, val or test, from its list, folder or JSON file
    example: Example  # `id` is the path below the root, `encoded` is None


class Folder:
    """The files below a root, and which images are matched or skipped so far."""

    def __init__(self, root: pathlib.Path):
        """List the files; raise ValueError if there is no such folder."""
        if not root.is_dir():
            raise ValueError(f"no folder at {root}")
        self.root, self.files = root, _files(root)
        self.skipped: Problems = {}
        self._images = [path for path in self.files if _is_image(path)]
        self._matched: set[pathlib.Path] = set()
        self._named: dict[str, list[pathlib.Path]] = defaultdict(list)
        for path in self._images:
            for name in {path.name, path.stem}:  # the same without an extension
                self._named[_composed(name)].append(path)

    def skip(self, reason: str, file: Any) -> None:
        """Record that a file is skipped, and why."""
        count(self.skipped, reason, str(file))

    def with_suffix(self, suffix: str) -> tqdm:
        """Iterate over the files with a suffix, such as `.xml`, with a progress bar."""
        found = [path for path in self.files if path.suffix.lower() == suffix]
        return tqdm(found, desc=f"Reading {suffix}", unit=" files", leave=False)

    def match(self, names: Sequence[str], near: pathlib.Path, owner: Any) -> pathlib.Path | None:
        """Match the image nearest to the folder `near` that has the first existing one of `names`.

        Nearest is the one whose path shares the most folder names: `labels/a/1.txt` finds
        `images/a/1.png`, not `images/b/1.png`. Where the image is missing, ambiguous or already
        matched, `owner` (the annotation) is recorded as skipped and None is returned.
        """
        found = next(filter(None, (self._named.get(_composed(name)) for name in names)), [])
        shared = [len(set(path.parent.parts) & set(near.parts)) for path in found]
        nearest = [path for path, n in zip(found, shared, strict=True) if n == max(shared)]
        if not nearest:
            self.skip("annotation without an image file", owner)
        elif len(nearest) > 1:
            self.skip("annotation that matches several images", owner)
        elif nearest[0] in self._matched:
            self.skip("another annotation of the same image", owner)
        else:
            self._matched.add(nearest[0])
            return nearest[0]
        return None

    def unmatched(self) -> list[pathlib.Path]:
        """Return the images that no annotation has matched."""
        return [path for path in self._images if path not in self._matched]

    def item(self, path: pathlib.Path, split: str | None, example: Example) -> Item:
        """Return the item of a matched image; bytes of its path that are not UTF-8 are replaced."""
        id = os.fsencode(path.relative_to(self.root).as_posix()).decode("utf-8", "replace")
        return Item(path, split, dataclasses.replace(example, id=id))

    def split(self, path: pathlib.Path) -> str | None:
        """Return the split that a folder in the path names: `valid`, `images/train2017`."""
        folders = path.relative_to(self.root).parent.parts
        names = [name.lower().rstrip("0123456789") for name in folders]
        return next((_SPLITS[name] for name in reversed(names) if name in _SPLITS), None)


def split_of_file(path: pathlib.Path) -> str | None:
    """Return the split that a word in the file name gives: `instances_train2017.json`."""
    words = re.findall("[a-z]+", path.stem.lower())
    return next((_SPLITS[word] for word in words if word in _SPLITS), None)


def _files(root: pathlib.Path) -> list[pathlib.Path]:
    """List the files at any depth, sorted, without hidden files and those that macOS adds."""
    found = []
    for folder, below, names in os.walk(root, followlinks=True):
        below[:] = [name for name in below if name[0] != "." and name != "__MACOSX"]
        found += [pathlib.Path(folder, name) for name in names if name[0] != "."]
    return sorted(found)


def _is_image(path: pathlib.Path) -> bool:
    """Decide by the extension or, if that is unknown, by the start of the file."""
    suffix = path.suffix.lower()
    return suffix in IMAGES or (suffix not in _TEXTS and cv2.haveImageReader(str(path)))


def _composed(name: str) -> str:
    """Normalise accented letters, which operating systems encode in two ways."""
    return unicodedata.normalize("NFC", name)
