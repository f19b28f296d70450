"""Which image an annotation, or a line of a list, means: by folder and path first, by name last.

Folder names that only say what a folder holds (`images`, `labels`, `Annotations`) are set aside;
what is left of a path is its place. `train/labels/a/1.txt` is at the place (train, a), and its
image is the one of that name at the same place: `train/images/a/1.jpg`. Where none is at the same
place, the nearest is taken that does not contradict it: an annotation in `b` never means an image
in `a` if there are images in `b`, or annotations in `a`. What stays in doubt is nobody's.
"""

import collections
import dataclasses
import os
import pathlib
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from jaxdet.data.images import EXTENSIONS
from jaxdet.data.splits import split_of_folders

Place = tuple[str, ...]
NONE, SEVERAL = "annotation without an image file", "annotation that matches several images"

_ROLES = {
    "images", "image", "imgs", "img", "jpegimages", "jpgimages", "pictures", "photos", "labels",
    "label", "labels_txt", "annotations", "annotation", "annots", "annos", "anno", "anns", "ann",
    "xml", "xmls", "json", "jsons", "txt", "imagesets", "main",
}  # fmt: skip
# How well a name fits: exactly, but for capitals, with another extension.
_LEVELS, _RENAMED = 3, 2
_MASKS = re.compile("masks?|segmentation.*|semantic|instance|panoptic|depth.*|disparity|trimaps?")


@dataclasses.dataclass(frozen=True)
class Claim:
    """What an annotation says about its image."""

    owner: Any  # named in messages: the annotation
    folders: tuple[str, ...]  # those it is in below the root, and those that it states
    names: tuple[str, ...]  # names of the image, the most credible first; any may lack an extension
    paths: tuple[pathlib.Path, ...] = ()  # where the image would be if what it states is exact
    split: str | None = None  # of the annotation
    hint: tuple[str, ...] = ()  # folders that it states, asked where several images remain


@dataclasses.dataclass(frozen=True)
class Answer:
    """The image that a claim means, or why there is none."""

    path: pathlib.Path | None
    reason: str | None  # why there is no image
    candidates: tuple[pathlib.Path, ...]  # images that were considered: in doubt if not claimed
    renamed: bool = False  # the image has another extension than the one stated


class Images:
    """The images below a root, to be found by what annotations say."""

    def __init__(self, root: pathlib.Path, images: Sequence[pathlib.Path]):
        self._folders = {path: path.relative_to(root).parent.parts for path in images}
        places = {folders: place(folders) for folders in set(self._folders.values())}
        self._places = {path: places[folders] for path, folders in self._folders.items()}
        self._by_name: dict[str, list[pathlib.Path]] = collections.defaultdict(list)
        self._by_stem: dict[str, list[pathlib.Path]] = collections.defaultdict(list)
        for path in images:
            self._by_name[_folded(path.name)].append(path)
            # The stem of a file without an extension is its name, also in `frame.0001`.
            self._by_stem[_folded(stem(path.name))].append(path)
        # Where all images are in folders called like masks, the word means something else.
        self._has_photos = any(not any(map(_is_mask, each)) for each in places.values())
        self._at = {name for each in places.values() for name in each}
        self._splits = {split_of_folders(folders) for folders in places} - {None}

    def find(self, claims: Sequence[Claim]) -> list[Answer]:
        """Return the answer to each claim; claims are compared with one another."""
        places = [place(claim.folders) for claim in claims]
        named = [self._named(claim.names) for claim in claims]
        claimed = {name for each in set(places) for name in each}
        homes = {
            at
            for at, found in zip(places, named, strict=True)
            if any(self._places[path] == at for path, _ in found)
        }
        answers = [
            self._answer(claim, found, at, claimed, homes)
            for claim, found, at in zip(claims, named, places, strict=True)
        ]
        return self._without_companions(self._without_contested(claims, places, answers))

    def _answer(
        self,
        claim: Claim,
        named: list[tuple[pathlib.Path, int]],
        at: Place,
        claimed: set[str],
        homes: set[Place],
    ) -> Answer:
        for path in claim.paths:
            if path in self._places:
                return Answer(path, None, ())
        fitting = [
            (rank, self._distance(path, at), path)
            for path, rank in named
            if self._fits(path, claim, at, claimed, homes)
        ]
        candidates = tuple(path for path, _ in named)
        if not fitting:
            return Answer(None, NONE, candidates)
        best = min(fitting)[:2]
        found = [path for *rank, path in fitting if tuple(rank) == best]
        if len(found) > 1 and claim.hint:
            near = [self._distance(path, place(claim.hint)) for path in found]
            found = [path for path, n in zip(found, near, strict=True) if n == min(near)]
        if len(found) > 1:
            return Answer(None, SEVERAL, candidates)
        return Answer(found[0], None, candidates, renamed=best[0] % _LEVELS == _RENAMED)

    def _named(self, names: Sequence[str]) -> list[tuple[pathlib.Path, int]]:
        """Return the images of these names with their ranks: the lower the better."""
        found: dict[pathlib.Path, int] = {}
        for number, name in enumerate(names):
            folded = _folded(name)
            for path in self._by_name[folded] + self._by_stem[folded]:
                exact = _composed(name) in (_composed(path.name), _composed(stem(path.name)))
                found.setdefault(path, _LEVELS * number + (0 if exact else 1))
            if stem(name) != name:
                for path in self._by_stem[_folded(stem(name))]:
                    found.setdefault(path, _LEVELS * number + _RENAMED)
        return list(found.items())

    def _fits(
        self, path: pathlib.Path, claim: Claim, at: Place, claimed: set[str], homes: set[Place]
    ) -> bool:
        here = self._places[path]
        if here == at:
            return True
        if at in homes or self.at_mask(path):
            return False
        split = split_of_folders(self._folders[path])
        if claim.split and split not in (None, claim.split) and claim.split in self._splits:
            return False
        stated, actual = _rest(at, here)
        if stated and actual:
            both = {split_of_folders(stated[-1:]), split_of_folders(actual[-1:])} - {None}
            return stated[-1] not in self._at and actual[-1] not in claimed and len(both) < 2
        return True

    def _distance(self, path: pathlib.Path, at: Place) -> int:
        return sum(map(len, _rest(at, self._places[path])))

    def _without_contested(
        self, claims: Sequence[Claim], places: Sequence[Place], answers: list[Answer]
    ) -> list[Answer]:
        """Drop images in folders that are in doubt for most of the annotations that may mean them.

        If `1.jpg` to `9.jpg` are in `rgb` and in `gt`, a `10.jpg` only in `gt` is no image either.
        """
        meant, doubted = collections.Counter(), collections.Counter()
        for answer in answers:
            folders = {path.parent for path in answer.candidates}
            meant.update(folders)
            doubted.update(folders if answer.reason == SEVERAL else ())
        contested = {folder for folder, n in doubted.items() if 2 * n > meant[folder]}
        return [
            Answer(None, SEVERAL, answer.candidates)
            if answer.path
            and answer.path.parent in contested
            and self._places[answer.path] != at
            and answer.path not in claim.paths
            else answer
            for claim, at, answer in zip(claims, places, answers, strict=True)
        ]

    def _without_companions(self, answers: list[Answer]) -> list[Answer]:
        """Drop images of another extension than stated that are masks of the others.

        In a folder where `1.jpg` is an image and `1.png` something else, `2.png` is not `2.jpg`.
        """
        exact = [answer.path for answer in answers if answer.path and not answer.renamed]
        companions = {
            (other.parent, other.suffix)
            for path in exact
            for other in self._by_stem[_folded(stem(path.name))]
            if other.parent == path.parent and other != path
        }
        return [
            Answer(None, NONE, answer.candidates)
            if answer.renamed and (answer.path.parent, answer.path.suffix) in companions
            else answer
            for answer in answers
        ]

    def at_mask(self, path: pathlib.Path) -> bool:
        """Return whether a folder of the image, but not of all, is called like one of masks."""
        return self._has_photos and any(map(_is_mask, self._places[path]))

    def same_stem(self, path: pathlib.Path) -> list[pathlib.Path]:
        """Return all images whose name without extension is that of `path`, itself among them."""
        return self._by_stem[_folded(stem(path.name))]


def place(folders: Sequence[str]) -> Place:
    """Return the folder names, in lower case, that say more than what a folder holds."""
    lower = [_folded(name) for name in folders]
    return tuple(name for name in lower if name not in _ROLES and name not in ("", ".", "..", "/"))


def parts(stated: str) -> list[str]:
    """Split a path of any operating system into its parts, the file name last."""
    return [part for part in re.split(r"[\\/]+", stated.strip().strip("\"'")) if part]


def _rest(a: Place, b: Place) -> tuple[Place, Place]:
    """Strip what two places have in common, at their end and then at their beginning."""
    end = _common(a[::-1], b[::-1])
    a, b = a[: len(a) - end], b[: len(b) - end]
    start = _common(a, b)
    return a[start:], b[start:]


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))  # noqa: B905


def _is_mask(name: str) -> bool:
    words = re.findall("[a-z]+", re.sub("([a-z])([A-Z])", r"\1 \2", name).lower())
    return any(_MASKS.fullmatch(word) for word in words)


def stem(name: str) -> str:
    """Return a file name without the extension of an image; all of it if it has another."""
    base, extension = os.path.splitext(name)
    return base if extension.lower() in EXTENSIONS else name


def _folded(name: str) -> str:
    return _composed(name).casefold()


def _composed(name: str) -> str:
    """Normalise accented letters, which operating systems encode in two ways."""
    return unicodedata.normalize("NFC", name)
