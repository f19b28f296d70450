"""A folder of the user's own images: its files, and which image each annotation means."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from jaxdet.data.check import Example, Problems, count
from jaxdet.data.images import files_in, sort_out
from jaxdet.data.matching import SEVERAL, Claim, Images, parts, stem
from jaxdet.data.splits import SPLITS, List, lists, split_of_folders

RENAMED = "image with another extension than its annotation states"


@dataclasses.dataclass(frozen=True)
class Item:
    """An image file that is not read yet, with its annotation."""

    path: pathlib.Path
    split: str | None  # train, val or test, from its list, folder or JSON file
    example: Example  # `id` is the path below the root, `encoded` is None


class Folder:
    """The files below a root, and what was left out so far."""

    def __init__(self, root: pathlib.Path):
        """List the files; raise ValueError if there is no such folder."""
        self.root, self.files = root, files_in(root)
        self.paths, unreadable = sort_out(self.files)
        self.images = Images(root, self.paths)
        self.skipped: Problems = {}
        self.noted: Problems = {}
        self._matched: set[pathlib.Path] = set()
        self._doubted: set[pathlib.Path] = set()
        for path, reason in unreadable.items():
            self.skip("image file that cannot be read", f"{path}: {reason}")

    def skip(self, reason: str, file: Any) -> None:
        """Record that something is left out, and why."""
        count(self.skipped, reason, str(file))

    def note(self, reason: str, file: Any) -> None:
        """Record something that is used, but not as it stands."""
        count(self.noted, reason, str(file))

    def with_suffix(self, suffix: str) -> tqdm:
        """Iterate over the files with a suffix, such as `.xml`, with a progress bar."""
        found = [path for path in self.files if path.suffix.lower() == suffix]
        return tqdm(found, desc=f"Reading {suffix}", unit=" files", leave=False)

    def folders(self, path: pathlib.Path) -> tuple[str, ...]:
        """Return the names of the folders that a file is in, below the root."""
        return path.relative_to(self.root).parent.parts

    def match(self, claims: Sequence[Claim]) -> list[pathlib.Path | None]:
        """Return the image that each annotation means; None, and a word in `skipped`, without one.

        An image that several annotations mean is the first one's.
        """
        found = []
        for claim, answer in zip(claims, self.images.find(claims), strict=True):
            path, reason = answer.path, answer.reason
            if path in self._matched:
                path, reason = None, "another annotation of the same image"
            if path is None:
                self.skip(reason, claim.owner)
                self._doubted.update(answer.candidates)
            else:
                self._matched.add(path)
                if answer.renamed:
                    self.note(RENAMED, claim.owner)
            found.append(path)
        return found

    def unmatched(self, *, background: bool) -> list[pathlib.Path]:
        """Return the images without an annotation that are background; the others are skipped.

        An image that an annotation may have meant is never background, nor are those of a folder
        without annotated images that has the name of one elsewhere (masks, depth maps).
        """
        rest = [path for path in self.paths if path not in self._matched]
        used = {path.parent for path in self._matched}
        twins = {
            path: {other.parent for other in self.images.same_stem(path) if other in self._matched}
            for path in rest
        }
        others = {path.parent for path in rest if twins[path]} - used
        kept = []
        for path in rest:
            if path in self._doubted:
                self.skip("image that an annotation without an image may mean", path)
            elif path.parent in others or (path.parent not in used and self.images.at_mask(path)):
                self.skip("image of a folder of masks, or with the names of annotated ones", path)
            elif path.parent in twins[path] or self._is_mask(path):
                self.skip("image beside an annotated one of the same name (a mask?)", path)
            elif not background:
                self.skip("image without an annotation (--background keeps such images)", path)
            else:
                kept.append(path)
        return kept

    def _is_mask(self, path: pathlib.Path) -> bool:
        """Return whether an image is called like a mask of an annotated one: `1_mask.png`."""
        base = re.sub(r"[ _.-]*(masks?|seg|segmentation|depth|labels?)$", "", path.stem.lower())
        others = self.images.same_stem(path.with_name(base)) if base != path.stem.lower() else []
        return any(other in self._matched for other in others)

    def lists(self, stems: Iterable[str]) -> list[List]:
        """Return the lists of images: text files called train, val, test."""
        return list(lists(self.files, {*stems, *(path.stem for path in self.paths)}))

    def listed(
        self, found: Sequence[List], meant: Mapping[pathlib.Path, pathlib.Path | None]
    ) -> dict[pathlib.Path, str]:
        """Return the split of each image in lists; one in two lists goes to the later split.

        So test images are never trained on. `meant` has the images of annotation files: a name in a
        list may be that of either.
        """
        claims = [self._row(each, row, meant) for each in found for row in each.rows]
        index = Images(self.root, [*self.paths, *meant])
        splits: dict[pathlib.Path, str] = {}
        for claim, answer in zip(claims, index.find(claims), strict=True):
            path = meant.get(answer.path, answer.path)
            if path is None:
                what = (
                    "matches several images" if answer.reason == SEVERAL else "has no usable image"
                )
                self.skip(f"name in a list that {what}", claim.owner)
            else:
                earlier = splits.get(path, "train")
                splits[path] = max(earlier, claim.split, key=SPLITS.index)
        return splits

    def _row(self, each: List, row: str, meant: Mapping[pathlib.Path, Any]) -> Claim:
        *folders, name = parts(row) or [row]
        below = self.folders(each.base / "x") if each.base.is_relative_to(self.root) else ()
        exact = self.exact(parts(row) or [row], each.base)
        names = (name,)
        if meant:  # the name of an annotation, which may differ from that of its image
            names = (f"{stem(name)}.xml", name)
        return Claim(f"{each.file}: {row}", (*below, *folders), names, exact, each.split)

    def exact(self, stated: Sequence[str], base: pathlib.Path) -> tuple[pathlib.Path, ...]:
        """Return where a stated path leads from `base` and from the root."""
        found = (os.path.normpath(os.path.join(each, *stated)) for each in (base, self.root))
        return tuple(map(pathlib.Path, found))

    def split(self, path: pathlib.Path) -> str | None:
        """Return the split that a folder in the path names."""
        return split_of_folders(self.folders(path))

    def has(self, name: str) -> bool:
        """Return whether there is an image of this name."""
        return any(path.name == name for path in self.images.same_stem(pathlib.Path(name)))

    def item(
        self,
        path: pathlib.Path,
        example: Example,
        splits: Mapping[pathlib.Path, str],
        split: str | None = None,
        near: pathlib.Path | None = None,
    ) -> Item:
        """Return the item of an image; bytes of its path that are not UTF-8 are replaced.

        Its split is `split`, else that of a list, else that which a folder of the image or of
        `near`, its annotation, names.
        """
        id = os.fsencode(path.relative_to(self.root).as_posix()).decode("utf-8", "replace")
        split = split or splits.get(path) or self.split(path)
        split = split or (self.split(near) if near else None)
        return Item(path, split, dataclasses.replace(example, id=id))


def empty(path: pathlib.Path) -> Example:
    """Return the example of an image without objects."""
    return example(str(path), [], np.zeros((0, 4)))


def example(file: str, names: list[str], boxes: np.ndarray, **others: Any) -> Example:
    """Return an example whose objects are neither difficult nor crowds, unless `others` says so."""
    n = len(names)
    given = {
        "id": "", "file": file, "encoded": None, "size": None, "boxes": boxes, "names": names,
        "difficult": np.zeros(n, bool), "crowd": np.zeros(n, bool), "area": np.full(n, np.nan),
    }  # fmt: skip
    return Example(**given | others)
