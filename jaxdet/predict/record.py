"""The results on disk: lines while detecting, COCO's two JSON files at the end.

Every image is a line of a `.jsonl` file, and so is the end of every file; a shard that was killed
goes on after the last such end. Nothing is kept in memory.
"""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from jaxdet.predict.files import Shard


class Record:
    """The lines of one shard; `files`, `images`, `detections`, `skipped` count what is in them."""

    def __init__(self, output: Path, shard: Shard | None, settings: dict[str, Any]):
        """Opens the file; goes on with it if it is a shard's.

        `settings` are what the results depend on; ValueError if the file has others.
        """
        self.files = self.images = self.detections = self.skipped = 0
        self.last, self._is_complete = "", False
        self._output, self._shard, self._is_shard = output, shard or Shard(), shard is not None
        self.path = _part(output, shard)
        output.mkdir(parents=True, exist_ok=True)
        end = self._resume(settings) if shard and self.path.exists() else 0
        self._file: TextIO = self.path.open("r+" if end else "w", encoding="utf-8")
        self._file.seek(end)
        self._file.truncate()
        if not end:
            self._write(settings=settings)

    def add(self, image: dict[str, Any], detections: list[dict[str, Any]]) -> None:
        """Records the detections in an image, both as entries of COCO's files."""
        self.images, self.detections = self.images + 1, self.detections + len(detections)
        self._write(image=image, detections=detections)

    def end(self, name: str, reason: str = "") -> None:
        """Records that a file is done, or, with a reason, that it could not be read."""
        self.files, self.skipped, self.last = self.files + 1, self.skipped + bool(reason), name
        self._is_complete = False
        self._write(file=name, **({"skipped": reason} if reason else {}))
        self._file.flush()

    def complete(self) -> None:
        """Records that all files of the shard are done."""
        if not self._is_complete:
            self._write(complete=True)
        self._file.close()

    def remove(self) -> None:
        """Removes the lines, unless they are a shard's, which say that it is done."""
        if not self._is_shard:
            self.path.unlink()

    def next_id(self) -> int:
        """The id of an image without a number of its own: unique among all shards, from 1."""
        return self.images * self._shard.count + self._shard.index

    def merge(self, categories: list[dict[str, Any]]) -> bool:
        """Writes `detections.json` and `image_info.json`; False while shards are not complete."""
        parts = [self.path]
        if self._is_shard:
            count = self._shard.count
            parts = [_part(self._output, Shard(i + 1, count)) for i in range(count)]
        if not all(part.exists() and _is_complete(part) for part in parts):
            return False
        found = (each for line in _lines(parts, "detections") for each in line["detections"])
        with _replacing(self._output / "detections.json") as file:
            _write_array(file, found)
            file.write("\n")
        with _replacing(self._output / "image_info.json") as file:
            file.write('{"images": ')
            _write_array(file, (line["image"] for line in _lines(parts, "image")))
            named = json.dumps(categories, ensure_ascii=False)
            file.write(f', "categories": {named}}}\n')
        return True

    def _resume(self, settings: dict[str, Any]) -> int:
        """Counts what is there, and returns where to go on: after the last file that is done."""
        end, images, detections = 0, 0, 0
        for place, line in _placed_lines(self.path):
            if "settings" in line:
                _check_same(self.path, line["settings"], settings)
                end = place
            elif "image" in line:
                images, detections = images + 1, detections + len(line["detections"])
            else:
                self._is_complete = "complete" in line
                self.files += "file" in line
                self.skipped += "skipped" in line
                self.last = line.get("file", self.last)
                self.images, self.detections, end = images, detections, place
        return end

    def _write(self, **line: Any) -> None:
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _part(output: Path, shard: Shard | None) -> Path:
    name = f"detections-{shard.index}-of-{shard.count}" if shard else "detections"
    return output / f"{name}.jsonl"


def _placed_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The lines with the place behind each, up to one that is not complete."""
    end = 0
    with path.open("rb") as file:
        for line in file:
            end += len(line)
            try:
                yield end, json.loads(line)
            except ValueError:
                return


def _lines(paths: list[Path], key: str) -> Iterator[dict[str, Any]]:
    for path in paths:
        yield from (line for _, line in _placed_lines(path) if key in line)


def _is_complete(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(_COMPLETE)))
        return file.read() == _COMPLETE


_COMPLETE = b'{"complete": true}\n'


def _check_same(path: Path, was: dict[str, Any], now: dict[str, Any]) -> None:
    now = json.loads(json.dumps(now))  # tuples are lists in JSON
    for key in sorted(was.keys() | now.keys()):
        if was.get(key) != now.get(key):
            raise ValueError(
                f"{path} was written with {key} {was.get(key)!r}, and now it is {now.get(key)!r}; "
                "choose another --output, or remove that file to begin again"
            )


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[TextIO]:
    """A file to write, which then replaces `path`, so that this is never incomplete."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    with temporary.open("w", encoding="utf-8") as file:
        yield file
    os.replace(temporary, path)


def _write_array(file: TextIO, values: Iterable[Any]) -> None:
    separator = "["
    for value in values:
        file.write(separator + json.dumps(value, ensure_ascii=False))
        separator = ",\n"
    file.write("]" if separator != "[" else "[]")
