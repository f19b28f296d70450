"""What is written beside the record: drawn images and videos, label files, crops."""

import re
from collections.abc import Collection
from pathlib import Path

import cv2
import numpy as np

from jaxdet import data
from jaxdet.engine.result import Result
from jaxdet.predict import videos
from jaxdet.predict.files import VIDEOS, File
from jaxdet.predict.videos import Frame

KINDS = ("image", "txt", "crops", "json")


class Outputs:
    """Writes what `kinds` names of every image, below one folder."""

    def __init__(self, output: Path, kinds: Collection[str], classes: tuple[str, ...]):
        self._output, self._kinds = output, kinds
        self._video: videos.Writer | None = None
        if "txt" in kinds:
            _write_text(output / "labels" / "classes.txt", classes)

    def write(self, file: File, image: np.ndarray, found: Result, frame: Frame | None) -> None:
        """Writes the detections in an image, which may be a frame of a video or a stream."""
        if "image" in self._kinds and frame is None:
            _save(self._output / _drawn_name(file), found.draw(image))
        elif "image" in self._kinds:
            path = self._output / _drawn_name(file)
            self._video = self._video or videos.Writer(path, image, frame.rate)
            self._video.write(found.draw(image), frame.seconds)
        if not {"txt", "crops"} & set(self._kinds):
            return
        stem = _stem(file) + (f"_{frame.number}" if frame else "")
        if "txt" in self._kinds:
            _write_text(self._output / "labels" / f"{stem}.txt", _yolo_rows(image, found))
        if "crops" in self._kinds:
            self._write_crops(stem, image, found)

    def end(self) -> None:
        """Completes the video that is being written, if one is."""
        if self._video:
            self._video.close()
        self._video = None

    def _write_crops(self, stem: str, image: np.ndarray, found: Result) -> None:
        for number, (box, name) in enumerate(zip(found.boxes, found.names, strict=True), start=1):
            (x1, y1), (x2, y2) = np.floor(box[:2]).astype(int), np.ceil(box[2:]).astype(int)
            folder = re.sub(r"[^\w -]", "_", name) or "_"  # "../" is a name, but no folder
            if x1 < x2 and y1 < y2:
                path = self._output / "crops" / folder / f"{stem}-{number}.jpg"
                _save(path, image[y1:y2, x1:x2])


def _yolo_rows(image: np.ndarray, found: Result) -> list[str]:
    """Class, centre, width, height and confidence; sides are fractions of the image."""
    sides = found.boxes / np.array(image.shape[1::-1] * 2)
    x1, y1, x2, y2 = np.asarray(sides, float).reshape(-1, 4).T
    boxes = np.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], axis=1)
    return [
        f"{label} " + " ".join(f"{side:.6f}" for side in box) + f" {score:.6f}"
        for label, box, score in zip(found.labels, boxes, found.scores, strict=True)
    ]


def _drawn_name(file: File) -> str:
    """The path of an image or a video with boxes: the same if its format can be written."""
    kept = videos.KEPT if file.is_video else data.IMAGES
    if Path(file.name).suffix.lower() in kept:
        return file.name
    name = file.name + (".mp4" if file.is_video else ".png")
    is_taken = file.path.with_name(Path(name).name).exists()
    return str(Path(name).with_suffix(f".drawn{Path(name).suffix}")) if is_taken else name


def _stem(file: File) -> str:
    """The path without extension, or with it if another image there has the same stem."""
    name = Path(file.name)
    suffixes = (data.IMAGES | VIDEOS) - {name.suffix.lower()}
    others = (each for lower in suffixes for each in (lower, lower.upper()))
    is_shared = any(file.path.with_suffix(each).exists() for each in others)
    return file.name if is_shared else str(name.with_suffix(""))


def _save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1])


def _write_text(path: Path, rows: Collection[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in rows), "utf-8")
