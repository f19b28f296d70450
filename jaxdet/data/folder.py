"""A folder of somebody's own pictures: which files are pictures, whose annotation is whose."""

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

from jaxdet.data.check import Picture, Problems, count

IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
_TEXTS = {".xml", ".json", ".txt", ".yaml", ".yml", ".names", ".csv", ".md"}
_SPLITS = {
    "train": "train", "training": "train", "trainval": "train",
    "val": "val", "valid": "val", "validation": "val", "test": "test", "testing": "test",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Item:
    """A picture file, and its annotation while the file is not read yet."""

    path: pathlib.Path
    split: str | None  # train, val or test, as its list, folder or json says
    picture: Picture  # `id` is the path below the root, `encoded` is None


class Folder:
    """The files below a root; which pictures are taken, and what was left out, so far."""

    def __init__(self, root: pathlib.Path):
        """Lists the files; ValueError where there is no such folder."""
        if not root.is_dir():
            raise ValueError(f"no folder at {root}")
        self.root, self.files = root, _files(root)
        self.skipped: Problems = {}
        self._pictures = [path for path in self.files if _is_picture(path)]
        self._taken: set[pathlib.Path] = set()
        self._named: dict[str, list[pathlib.Path]] = defaultdict(list)
        for path in self._pictures:
            for name in {path.name, path.stem}:  # the same without an ending
                self._named[_composed(name)].append(path)

    def skip(self, reason: str, file: Any) -> None:
        """Notes that a file is left out."""
        count(self.skipped, reason, str(file))

    def ending(self, ending: str) -> tqdm:
        """The files of that ending, with a progress bar."""
        found = [path for path in self.files if path.suffix.lower() == ending]
        return tqdm(found, desc=f"Reading {ending}", unit=" files", leave=False)

    def take(self, names: Sequence[str], near: pathlib.Path, whose: Any) -> pathlib.Path | None:
        """The picture by the first of `names` there is, that lies nearest to the folder `near`.

        That is the one whose own folder shares most names with it: `labels/a/1.txt` finds
        `images/a/1.png`, not `images/b/1.png`. None, and a note, where it is not clear, or taken.
        """
        found = next(filter(None, (self._named.get(_composed(name)) for name in names)), [])
        shared = [len(set(path.parent.parts) & set(near.parts)) for path in found]
        nearest = [path for path, n in zip(found, shared, strict=True) if n == max(shared)]
        if not nearest:
            self.skip("annotation without a picture file", whose)
        elif len(nearest) > 1:
            self.skip("annotation that could be that of several pictures", whose)
        elif nearest[0] in self._taken:
            self.skip("another annotation of the same picture", whose)
        else:
            self._taken.add(nearest[0])
            return nearest[0]
        return None

    def left(self) -> list[pathlib.Path]:
        """The pictures that no annotation has taken."""
        return [path for path in self._pictures if path not in self._taken]

    def item(self, path: pathlib.Path, split: str | None, picture: Picture) -> Item:
        """A taken picture, its name made text where the bytes of the name are none."""
        id = os.fsencode(path.relative_to(self.root).as_posix()).decode("utf-8", "replace")
        return Item(path, split, dataclasses.replace(picture, id=id))

    def split(self, path: pathlib.Path) -> str | None:
        """The split that a folder on the way to a file names: `valid`, `images/train2017`."""
        folders = path.relative_to(self.root).parent.parts
        names = [name.lower().rstrip("0123456789") for name in folders]
        return next((_SPLITS[name] for name in reversed(names) if name in _SPLITS), None)


def split_of_file(path: pathlib.Path) -> str | None:
    """The split that a word of a file's name says: `instances_train2017.json`."""
    words = re.findall("[a-z]+", path.stem.lower())
    return next((_SPLITS[word] for word in words if word in _SPLITS), None)


def _files(root: pathlib.Path) -> list[pathlib.Path]:
    """The files at any depth, sorted; hidden ones, and what macOS adds, left out."""
    found = []
    for folder, below, names in os.walk(root, followlinks=True):
        below[:] = [name for name in below if name[0] != "." and name != "__MACOSX"]
        found += [pathlib.Path(folder, name) for name in names if name[0] != "."]
    return sorted(found)


def _is_picture(path: pathlib.Path) -> bool:
    """By its ending or, where that says nothing, by how the file begins."""
    ending = path.suffix.lower()
    return ending in IMAGES or (ending not in _TEXTS and cv2.haveImageReader(str(path)))


def _composed(name: str) -> str:
    """A name in one of the two forms in which systems write letters with accents."""
    return unicodedata.normalize("NFC", name)
