"""Detect objects in images and videos, and draw them.

    python -m jaxdet.predict --workdir=DIR --input=FILE_OR_FOLDER --output=DIR

writes to the output folder every image and video with boxes, under the same relative path, and

- `detections.json`, in COCO's results format: a list of `image_id`, `category_id`, `bbox` (x, y,
  width, height in pixels) and `score`, plus `file_name` and, for videos, `frame`, counted from 0;
- `image_info.json`, in the format of COCO's file of that name: `images` and `categories`, so that
  pycocotools reads the two as `COCO("image_info.json").loadRes("detections.json")`.

`category_id` is the position of the class in the detector's list, counted from 1. `image_id` is the
number in the file name if every file has its own (as in COCO and VOC), else images count from 1.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

import jaxdet
from jaxdet import cli, data, types, visualize

IMAGES = data.IMAGES
VIDEOS = {".mp4", ".m4v", ".mov", ".avi", ".mkv"}


class Prediction:
    """Detects objects in the files below `root`; collects detections and unreadable files.

    `detector` has `classes` and `detect(images, batch_size=...)`, as `engine.inference.Pretrained`.
    Detections with a score above `score_threshold` are kept. With `numbered`, file names are
    numbers and become the image ids.
    """

    def __init__(
        self,
        detector: Any,
        root: Path,
        output: Path,
        *,
        score_threshold: float,
        batch_size: int,
        numbered: bool,
    ):
        self.images: list[dict] = []
        self.detections: list[dict] = []
        self.bad: list[Path] = []
        self._detector, self._root, self._output = detector, root, output
        self._threshold, self._batch_size, self._numbered = score_threshold, batch_size, numbered

    def predict_images(self, files: Sequence[Path]) -> None:
        """Detects objects in image files, and writes each image with its boxes."""
        bar = tqdm(files, unit="image", disable=not files)
        for file, image, detections in self._detect(self._read(bar)):
            name = file.relative_to(self._root)
            self._record(name, image, detections)
            if name.suffix.lower() not in IMAGES:
                name = name.with_name(name.name + ".png")
            _save(self._output / name, self._draw(image, detections))

    def predict_video(self, file: Path) -> None:
        """Detects objects in every frame of a video; writes it with boxes, same length and rate.

        An odd width or height loses a line of pixels: the format allows only even sizes.
        """
        name = file.relative_to(self._root)
        capture = cv2.VideoCapture(str(file))
        rate, expected = capture.get(cv2.CAP_PROP_FPS), int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        bar = tqdm(_frames(capture), total=max(expected, 0), desc=name.name, unit="frame")
        count, writer = 0, None
        for number, image, detections in self._detect(enumerate(bar)):
            count, writer = number + 1, writer or _open_video(self._output / name, image, rate)
            self._record(name, image, detections, frame=number)
            writer.write(cv2.cvtColor(self._draw(image, detections), cv2.COLOR_RGB2BGR))
        if writer:
            writer.release()
        if not count:
            self._skip(file, "not a video that OpenCV can read")
        elif count < expected:
            tqdm.write(f"{file}: ends after {count} of {expected} frames", file=sys.stderr)

    def write(self) -> None:
        """Writes `detections.json` and `image_info.json`; class names are not escaped."""
        names = self._detector.classes
        categories = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
        info = {"images": self.images, "categories": categories}
        self._output.mkdir(parents=True, exist_ok=True)
        for name, content in ("detections", self.detections), ("image_info", info):
            text = json.dumps(content, ensure_ascii=False)
            (self._output / f"{name}.json").write_text(text, encoding="utf-8")

    def _read(self, files: Iterable[Path]) -> Iterator[tuple[Path, np.ndarray]]:
        for file in files:
            try:
                yield file, data.read_image(file)
            except (ValueError, OSError) as error:
                self._skip(file, str(error))

    def _skip(self, file: Path, reason: str) -> None:
        self.bad.append(file)
        tqdm.write(f"skipped {file}: {reason}", file=sys.stderr)

    def _detect(
        self, images: Iterable[tuple[Any, np.ndarray]]
    ) -> Iterator[tuple[Any, np.ndarray, types.ImageDetections]]:
        """Detects in batches; yields each key and image with the detections kept."""
        images = iter(images)
        while batch := list(itertools.islice(images, self._batch_size)):
            pixels = [image for _, image in batch]
            results = self._detector.detect(pixels, batch_size=self._batch_size)
            for (key, image), each in zip(batch, results, strict=True):
                keep = each.scores > self._threshold
                kept = each.select(keep)
                yield key, image, kept

    def _draw(self, image: np.ndarray, detections: types.ImageDetections) -> np.ndarray:
        return visualize.draw_boxes(
            image,
            detections.boxes,
            detections.labels,
            classes=self._detector.classes,
            scores=detections.scores,
        )

    def _record(
        self, name: Path, image: np.ndarray, detections: types.ImageDetections, **where: int
    ) -> None:
        number = int(name.stem) if self._numbered else len(self.images) + 1
        source = {"file_name": name.as_posix(), **where}
        height, width = image.shape[:2]
        self.images.append({"id": number, "width": width, "height": height, **source})
        columns = (detections.boxes, detections.scores, detections.labels)
        for box, score, label in zip(*columns, strict=True):
            x1, y1, x2, y2 = (float(side) for side in box)
            self.detections.append(
                {
                    "image_id": number,
                    "category_id": int(label) + 1,
                    "bbox": [round(side, 3) for side in (x1, y1, x2 - x1, y2 - y1)],
                    "score": round(float(score), 6),
                    **source,
                }
            )


def predict(
    detector: Any, source: Path, output: Path, *, score_threshold: float, batch_size: int
) -> Prediction:
    """Detects objects in a file, or in all images and videos of a folder; writes the results.

    Files that cannot be read are skipped, named on stderr and listed in the result's `bad`. Raises
    `ValueError` if the input has no images or videos, or if the output folder holds the input.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, expected at least 1")
    root, files = find_files(source, output)
    videos = [file for file in files if file.suffix.lower() in VIDEOS]
    images = [file for file in files if file not in videos]
    prediction = Prediction(
        detector,
        root,
        output,
        score_threshold=score_threshold,
        batch_size=batch_size,
        numbered=not videos and _are_numbered(images),
    )
    prediction.predict_images(images)
    for video in videos:
        prediction.predict_video(video)
    prediction.write()
    return prediction


def find_files(source: Path, output: Path) -> tuple[Path, list[Path]]:
    """The folder of the input, and the images and videos in it at any depth.

    Files in `output` are left out, as an earlier run wrote them.
    """
    root = source.parent if source.is_file() else source
    if not root.is_dir():
        raise ValueError(f"no file or folder at {source}")
    inside = output.resolve()
    # Output to the parent of the input could overwrite some of it: a/a/1.jpg is written as a/1.jpg.
    if root.resolve().is_relative_to(inside):
        raise ValueError(
            f"the output folder {output} holds the input, which annotated images could overwrite; "
            "choose another folder"
        )
    if source.is_file():
        return root, [source]
    media = (file for file in sorted(root.rglob("*")) if file.suffix.lower() in IMAGES | VIDEOS)
    files = [file for file in media if file.is_file() and not file.resolve().is_relative_to(inside)]
    if not files:
        expected = " ".join(sorted(IMAGES | VIDEOS))
        raise ValueError(f"no images or videos in {source}, expected files that end in {expected}")
    return root, files


def _are_numbered(images: Sequence[Path]) -> bool:
    """Whether every file name is a number and no two are the same."""
    stems = [file.stem for file in images]
    return all(map(str.isdecimal, stems)) and len(set(map(int, stems))) == len(stems)


def _save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1])


def _frames(capture: cv2.VideoCapture) -> Iterator[np.ndarray]:
    while True:
        read, frame = capture.read()
        if not read:
            return
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def _open_video(path: Path, image: np.ndarray, rate: float) -> cv2.VideoWriter:
    path.parent.mkdir(parents=True, exist_ok=True)
    codec = cv2.VideoWriter.fourcc(*"mp4v")  # the only codec that every format in VIDEOS can hold
    writer = cv2.VideoWriter(str(path), codec, rate, image.shape[1::-1])
    if not writer.isOpened():
        raise OSError(f"OpenCV cannot write {path} at {rate} frames a second")
    return writer


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns 1 if nothing could be read."""
    return cli.call("predict", __doc__, _add_arguments, _predict, argv)


def _predict(args: argparse.Namespace) -> int:
    prediction = predict(
        jaxdet.load(args.workdir),
        args.input,
        args.output,
        score_threshold=args.score_threshold,
        batch_size=args.batch_size,
    )
    print(
        f"{len(prediction.detections)} detections above {args.score_threshold:g} in "
        f"{len(prediction.images)} images: {args.output / 'detections.json'}"
    )
    if prediction.bad:
        print(f"{len(prediction.bad)} files could not be read, see above", file=sys.stderr)
    return 0 if prediction.images else 1


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    path = lambda text: Path(text).expanduser()  # the shell does not expand --output=~/out
    parser.add_argument("--workdir", required=True, help="folder of a trained detector")
    parser.add_argument("--input", type=path, required=True, help="image, video, or folder")
    parser.add_argument("--output", type=path, required=True, help="folder to write to")
    parser.add_argument("--score_threshold", type=cli.share, default=0.3, help="default 0.3")
    parser.add_argument(
        "--batch_size", type=cli.positive, default=8, help="images at a time, default 8"
    )


if __name__ == "__main__":
    sys.exit(main())
