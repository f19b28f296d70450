"""Detect objects in pictures and videos, and draw them.

    python -m jaxdet.predict --workdir=DIR --input=FILE_OR_FOLDER --output=DIR

writes into the output folder every picture and video under its own relative path, with boxes, and

- `detections.json`, in COCO's results form: a list of `image_id`, `category_id`, `bbox` (x, y,
  width, height in pixels) and `score`, with `file_name` beside and, in a video, `frame` from 0;
- `image_info.json`, in the form of COCO's file of that name: `images` and `categories`, so that
  pycocotools reads the two as `COCO("image_info.json").loadRes("detections.json")`.

`category_id` is the place of the class in the detector's list, from 1. `image_id` is the number in
the file's name where every file has its own (as COCO's and VOC's have), else they count from 1.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from absl import app
from absl.flags import argparse_flags
from tqdm import tqdm

import jaxdet
from jaxdet import data, types, visualize

PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
VIDEOS = {".mp4", ".m4v", ".mov", ".avi", ".mkv"}


class Records:
    """What was found so far, in the two forms that COCO's tools read."""

    def __init__(self, classes: tuple[str, ...], *, numbered: bool):
        """`numbered`: file names are numbers and become the ids of the pictures."""
        self.classes = classes
        self.images: list[dict] = []
        self.detections: list[dict] = []
        self._numbered = numbered

    def add(self, name: str, image: np.ndarray, found: types.Found, **where: int) -> None:
        """Records one picture, or one frame of a video."""
        number = int(Path(name).stem) if self._numbered else len(self.images) + 1
        height, width = image.shape[:2]
        size = {"width": width, "height": height}
        self.images.append({"id": number, "file_name": name, **size, **where})
        for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True):
            x1, y1, x2, y2 = (float(side) for side in box)
            self.detections.append(
                {
                    "image_id": number,
                    "category_id": int(label) + 1,
                    "bbox": [round(side, 3) for side in (x1, y1, x2 - x1, y2 - y1)],
                    "score": round(float(score), 6),
                    "file_name": name,
                    **where,
                }
            )

    def write(self, folder: Path) -> None:
        """Writes both files; names in other scripts stay readable."""
        categories = [{"id": i, "name": name} for i, name in enumerate(self.classes, start=1)]
        info = {"images": self.images, "categories": categories}
        for name, content in ("detections", self.detections), ("image_info", info):
            text = json.dumps(content, ensure_ascii=False)
            (folder / f"{name}.json").write_text(text, encoding="utf-8")


def predict(
    detector: Any, source: Path, output: Path, *, score_threshold: float, batch_size: int
) -> tuple[Records, list[Path]]:
    """Detects in a file or in all pictures and videos of a folder, and writes what was found.

    `detector` has `classes` and `detect(images, batch_size=...) -> list[Found]`. Detections are
    kept where their score is above `score_threshold`. A video of odd width or height loses a line
    of pixels, as its format cannot hold it.

    Returns the records and the files that could not be read, which are named on stderr. Raises
    `ValueError` for an input without pictures, and for an output that would fall into the input.
    """
    root, files = find_files(source, output)
    videos = [file for file in files if file.suffix.lower() in VIDEOS]
    pictures = [file for file in files if file not in set(videos)]
    records = Records(detector.classes, numbered=not videos and _are_numbered(pictures))
    bad: list[Path] = []

    def detect(images: list[np.ndarray]) -> list[types.Found]:
        every = detector.detect(images, batch_size=batch_size)
        return [_above(found, score_threshold) for found in every]

    bar = tqdm(total=len(pictures), unit="picture", disable=not pictures)
    for some in _batched(_read(pictures, bad, bar), batch_size):
        for (file, image), found in zip(some, detect([image for _, image in some]), strict=True):
            name = file.relative_to(root)
            records.add(name.as_posix(), image, found)
            visualize.save(_target(output / name), _draw(image, found, detector.classes))
    bar.close()
    for file in videos:
        name = file.relative_to(root)
        frames = _video_frames(file, bad)
        writer = _VideoWriter(output / name, file)
        for some in _batched(frames, batch_size):
            for (number, image), found in zip(some, detect([i for _, i in some]), strict=True):
                records.add(name.as_posix(), image, found, frame=number)
                writer.write(_draw(image, found, detector.classes))
        writer.close()
    output.mkdir(parents=True, exist_ok=True)
    records.write(output)
    return records, bad
