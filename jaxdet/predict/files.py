"""Which files there are to predict, one after another: no list of them is ever held."""

import array
import dataclasses
import functools
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from jaxdet.data import images

VIDEOS = {
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp",
    ".ogv", ".mts", ".m2ts",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class File:
    """A file to predict, or, with a `reason`, one that cannot be read."""

    path: Path
    name: str  # its path below the folder of the input
    is_video: bool = False
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Shard:
    """The part `index` (1 to `count`) of the files, by the checksum of their names."""

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """The shard that "2/8" means; ValueError for anything else."""
        index, _, count = text.partition("/")
        if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
            raise ValueError(f"--shard is {text!r}, expected i/n with i from 1 to n, such as 2/8")
        return cls(int(index), int(count))

    def holds(self, name: str) -> bool:
        """Whether a file belongs to this part."""
        return zlib.crc32(name.encode()) % self.count == self.index - 1


class Files:
    """The images and videos of a file or a folder, at any depth, without what lies in `output`."""

    def __init__(self, source: Path, output: Path, shard: Shard):
        """ValueError if there is no such input, or if the output folder holds it."""
        self.root = source.parent if source.is_file() else source
        if not self.root.is_dir():
            raise ValueError(f"no file or folder at {source}")
        self._output = output.resolve()
        # It could overwrite some of the input: a/a/1.jpg is written as a/1.jpg.
        if self.root.resolve().is_relative_to(self._output):
            raise ValueError(
                f"the output folder {output} holds the input, which annotated images could "
                "overwrite; choose another folder"
            )
        self._source, self._shard, self.passed_over = source, shard, 0
        self._is_output = functools.lru_cache(maxsize=1024)(self._is_below_output)

    def __iter__(self) -> Iterator[File]:
        """The files of the shard; counts those that are neither images nor videos."""
        self.passed_over = 0
        for path, name in self._paths():
            if self._shard.holds(name):
                if file := self._examined(path, name):
                    yield file
                else:
                    self.passed_over += 1

    def survey(self) -> tuple[int, bool]:
        """How many files the shard has, and whether all images are numbered.

        They are if there are no videos, and every file name, in all shards, is another number.
        """
        count, numbers, is_numbered = 0, array.array("q"), True
        for path, name in self._paths():
            is_ours = self._shard.holds(name)
            file = self._examined(path, name) if is_ours or is_numbered else None
            count += is_ours and file is not None
            if is_numbered and file and not file.reason:
                is_numbered = path.stem.isdecimal() and len(path.stem) < 19 and not file.is_video
                numbers.append(int(path.stem) if is_numbered else 0)
        values = np.frombuffer(numbers, np.int64)
        return count, is_numbered and len(np.unique(values)) == len(values)

    def _paths(self) -> Iterator[tuple[Path, str]]:
        if self._source.is_file():
            yield self._source, _readable(self._source.name)
            return
        for path in images.walk(self.root):
            if not self._is_output(path.parent):
                yield path, _readable(path.relative_to(self.root).as_posix())

    def _examined(self, path: Path, name: str) -> File | None:
        if path.suffix.lower() in VIDEOS:
            return File(path, name, is_video=True)
        is_image, reason = images.examine(path)
        if is_image or reason:
            return File(path, name, reason=reason)
        if path == self._source:  # whatever it is called; reading says what is wrong with it
            return File(path, name, is_video=cv2.VideoCapture(str(path)).isOpened())
        return None

    def _is_below_output(self, folder: Path) -> bool:
        return folder.resolve().is_relative_to(self._output)


def _readable(name: str) -> str:
    """A name that can be written: bytes that are not UTF-8 are replaced."""
    return os.fsencode(name).decode("utf-8", "replace")
