"""Frames of videos, cameras and streams."""

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

KEPT = {".mp4", ".m4v", ".mov", ".avi", ".mkv"}  # formats in which videos are written


class Frame(NamedTuple):
    """A frame, RGB uint8 [H, W, 3]; `rate` is the video's, in frames a second."""

    number: int
    image: np.ndarray
    rate: float
    seconds: float | None = None  # since the first frame, of a stream


def is_stream(source: str) -> bool:
    """Whether an input is a camera's number or the address of a stream, not a file."""
    return (source.isdecimal() or "://" in source) and not Path(source).exists()


def frames(path: Path) -> Iterator[Frame]:
    """All frames of a video; ValueError, after the last, if there are none."""
    capture, number = cv2.VideoCapture(str(path)), 0
    while (read := capture.read())[0]:
        yield Frame(number, cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB), _rate(capture))
        number += 1
    expected = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()
    if not number:
        raise ValueError("not a video that OpenCV can read")
    if number < expected:
        tqdm.write(f"{path}: ends after {number} of {expected} frames", file=sys.stderr)


def _rate(capture: Any) -> float:
    rate = capture.get(cv2.CAP_PROP_FPS)
    return rate if 0 < rate <= 1000 else 25.0  # a camera may not know its own


class Stream:
    """The newest frames of a camera or a stream: those that nobody had time for are dropped.

    A thread reads all the time, and holds one frame. So what is detected is as old as one
    detection takes, however slow the detector is. `capture` is a cv2.VideoCapture.
    """

    def __init__(self, capture: Any):
        self._rate = _rate(capture)
        self.count = 0  # of all frames, with those that were dropped
        self._capture, self._newest = capture, None
        self._ready, self._ended = threading.Condition(), False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @classmethod
    def open(cls, source: str) -> "Stream":
        """The stream of an address or of a camera's number; ValueError if it cannot be opened."""
        capture = cv2.VideoCapture(int(source) if source.isdecimal() else source)
        if not capture.isOpened():
            what = f"camera {source}" if source.isdecimal() else f"stream {source}"
            raise ValueError(f"OpenCV cannot open the {what}")
        return cls(capture)

    def __iter__(self) -> Iterator[Frame]:
        """Each frame is newer than the one before; ends with the stream."""
        while True:
            with self._ready:
                self._ready.wait_for(lambda: self._newest or self._ended)
                newest, self._newest = self._newest, None
            if newest is None:
                return
            number, image, seconds = newest
            yield Frame(number, cv2.cvtColor(image, cv2.COLOR_BGR2RGB), self._rate, seconds)

    def stop(self) -> None:
        """Ends the stream, after the frame that is waiting; may be called by a signal."""
        self._ended = True
        with self._ready:
            self._ready.notify()

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()
        self._reader.join(timeout=5)
        self._capture.release()

    def _read(self) -> None:
        start = None
        while not self._ended and (read := self._capture.read())[0]:
            start = time.monotonic() if start is None else start
            with self._ready:
                self._newest = self.count, read[1], time.monotonic() - start
                self.count += 1
                self._ready.notify()
        with self._ready:
            self._ended = True
            self._ready.notify()


class Writer:
    """A video file; its folder is created.

    An odd width or height loses a line of pixels: the format allows only even sizes.
    """

    def __init__(self, path: Path, image: np.ndarray, rate: float):
        """OSError if OpenCV cannot write it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        codec = cv2.VideoWriter.fourcc(*"mp4v")  # the only codec that all of KEPT can hold
        self._rate, self._count = rate, 0
        self._writer = cv2.VideoWriter(str(path), codec, rate, image.shape[1::-1])
        if not self._writer.isOpened():
            raise OSError(f"OpenCV cannot write {path} at {rate:g} frames a second")

    def write(self, image: np.ndarray, seconds: float | None = None) -> None:
        """Appends an image; one of a stream is repeated until the video is as long as the time."""
        due = self._count + 1 if seconds is None else int(seconds * self._rate) + 1
        for _ in range(due - self._count):
            self._writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        self._count = max(due, self._count)

    def close(self) -> None:
        """Completes the file."""
        self._writer.release()
