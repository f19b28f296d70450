"""Detects objects in files or a stream, a batch at a time, and writes what it finds."""

import contextlib
import dataclasses
import itertools
import re
import signal
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Unpack
from urllib.parse import urlsplit

import numpy as np
from tqdm import tqdm

from jaxdet import data
from jaxdet.engine import settings as settings_
from jaxdet.engine.result import Result
from jaxdet.engine.settings import Settings
from jaxdet.predict import videos
from jaxdet.predict.files import File, Files, Shard
from jaxdet.predict.outputs import KINDS, Outputs
from jaxdet.predict.record import Record
from jaxdet.predict.videos import Frame, Stream


class _Seen(NamedTuple):
    """An image to detect objects in; a video has many."""

    file: File
    image: np.ndarray
    frame: Frame | None = None


class _Done(NamedTuple):
    """The end of a file; with a reason if nothing of it could be read."""

    file: File
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Summary:
    """What was done: the numbers of images (or frames), detections, and unreadable files."""

    images: int
    detections: int
    skipped: int
    is_merged: bool  # False if other shards are not complete


def predict(
    detector: Any,
    source: str | Path,
    output: Path,
    *,
    save: Collection[str] = ("image", "json"),
    shard: Shard | None = None,
    **settings: Unpack[Settings],
) -> Summary:
    """Detects objects in a file, in all images and videos of a folder, or in a stream.

    `detector` is what `jaxdet.load` returns, `settings` are those of its `detect`. Files that
    cannot be read are named on stderr, with the reason, and counted. With a `shard`, only its part
    of the files is read, and a run that ended early goes on. ValueError if the input has no images
    or videos, or if the output folder holds the input.
    """
    settings_.check(settings)
    for kind in save:
        if kind not in KINDS:
            raise ValueError(f"save has {kind!r}, expected some of {', '.join(KINDS)}")
    outputs = lambda: Outputs(output, save, detector.classes)
    if videos.is_stream(str(source)):
        if shard:
            raise ValueError(f"{source} is a stream, which has no shards")
        events = _of_stream(str(source), Stream.open(str(source)))
        return _run(detector, events, Record(output, None, {}), outputs(), save, settings)
    files = Files(Path(source), output, shard or Shard())
    count, is_numbered = files.survey()
    if not count and not shard:
        raise ValueError(f"no images or videos in {source}, expected files such as .jpg or .mp4")
    record = Record(output, shard, _depends_on(detector, settings))
    events = _of_files(files, record, tqdm(total=count, initial=record.files, unit="file"))
    return _run(detector, events, record, outputs(), save, settings, is_numbered=is_numbered)


def _run(
    detector: Any,
    events: Iterator[_Seen | _Done],
    record: Record,
    outputs: Outputs,
    save: Collection[str],
    settings: Settings,
    *,
    is_numbered: bool = False,
) -> Summary:
    for event, found in _detected(detector, events, settings):
        if isinstance(event, _Done):
            outputs.end()
            record.end(event.file.name, event.reason)
            continue
        outputs.write(event.file, event.image, found, event.frame)
        number = int(Path(event.file.name).stem) if is_numbered else record.next_id()
        record.add(*_entries(event, found, number))
    record.complete()
    categories = [{"id": i, "name": name} for i, name in enumerate(detector.classes, start=1)]
    is_merged = record.merge(categories) if "json" in save else True
    record.remove()
    return Summary(record.images, record.detections, record.skipped, is_merged)


def _detected(
    detector: Any, events: Iterator[_Seen | _Done], settings: Settings
) -> Iterator[tuple[_Seen | _Done, Result | None]]:
    """The events in their order, with what was found in the images; batch by batch."""
    waiting: list[_Seen | _Done] = []
    size = settings.get("batch_size") or 8
    for event in events:
        waiting.append(event)
        is_live = isinstance(event, _Seen) and event.frame and event.frame.seconds is not None
        if is_live or sum(isinstance(each, _Seen) for each in waiting) in (0, size):
            yield from _flush(detector, waiting, settings)
            waiting = []
    yield from _flush(detector, waiting, settings)


def _flush(
    detector: Any, events: list[_Seen | _Done], settings: Settings
) -> Iterator[tuple[_Seen | _Done, Result | None]]:
    images = [event.image for event in events if isinstance(event, _Seen)]
    found = iter(detector.detect(images, **settings) if images else [])
    for event in events:
        yield event, next(found) if isinstance(event, _Seen) else None


def _of_files(files: Files, record: Record, bar: tqdm) -> Iterator[_Seen | _Done]:
    """The images in the files that the record does not have yet."""
    rest, there, last = iter(files), 0, ""
    for file in itertools.islice(rest, record.files):
        there, last = there + 1, file.name
    if (there, last) != (record.files, record.last):
        raise ValueError(
            f"{record.path} ends with {record.last}, and that is not file {record.files} of "
            f"{files.root}: its files have changed; choose another --output, or remove that file "
            "to begin again"
        )
    with bar:
        for file in rest:
            yield from _of_file(file)
            bar.update()
    if count := files.passed_over:
        print(f"passed over {count} files that are no images or videos", file=sys.stderr)


def _of_file(file: File) -> Iterator[_Seen | _Done]:
    reason = file.reason
    try:
        if file.is_video:
            yield from (_Seen(file, frame.image, frame) for frame in videos.frames(file.path))
        elif not reason:
            yield _Seen(file, data.read_image(file.path))
    except (ValueError, OSError) as error:
        reason = str(error).removeprefix(f"{file.path}: ")
    if reason:
        tqdm.write(f"skipped {file.path}: {reason}", file=sys.stderr)
    yield _Done(file, reason)


def _of_stream(source: str, stream: Stream) -> Iterator[_Seen | _Done]:
    """The newest frames, until the stream ends or Ctrl-C."""
    address = urlsplit(source)  # without the password that it may have
    name = f"{address.hostname or 'stream'}{address.path}" if address.scheme else f"camera-{source}"
    file = File(Path(source), re.sub(r"[^\w.-]+", "-", name), is_video=True)
    seen = 0
    with stream, _interrupt_ends(stream):
        for frame in tqdm(stream, unit="frame"):
            seen += 1
            yield _Seen(file, frame.image, frame)
    print(f"{source}: {seen} frames, {stream.count - seen} dropped")
    yield _Done(file)


@contextlib.contextmanager
def _interrupt_ends(stream: Stream) -> Iterator[None]:
    """Ctrl-C ends the stream, and what was found is written; a second one ends the program."""
    before = signal.getsignal(signal.SIGINT)

    def stop(*_: Any) -> None:
        stream.stop()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _depends_on(detector: Any, settings: Settings) -> dict[str, Any]:
    """What the results of a shard depend on, so that only the same is continued."""
    plain = {key: value for key, value in settings.items() if key != "batch_size"}
    step = getattr(detector, "step", None)
    return {"categories": list(detector.classes), "step": step, **plain}


def _entries(event: _Seen, found: Result, number: int) -> tuple[dict, list[dict]]:
    """An image and its detections as entries of COCO's files."""
    source: dict[str, Any] = {"file_name": event.file.name}
    if event.frame:
        source["frame"] = event.frame.number
        if event.frame.seconds is not None:
            source["seconds"] = round(event.frame.seconds, 3)
    height, width = event.image.shape[:2]
    rows = zip(found.to_coco(number), found.names, strict=True)
    detections = [{**row, "category_name": name, **source} for row, name in rows]
    return {"id": number, "width": width, "height": height, **source}, detections
