"""Folders of people's own images for the tests: written in a line, and read without records."""

import json
import pathlib
from typing import Any

import cv2
import numpy as np
from tiny_sets import jpeg, picture

from jaxdet.data import check, own

HEIGHT, WIDTH = 20, 40
LINE = "0 0.5 0.5 0.5 0.5\n"  # in YOLO's format, of 20 x 10 pixels
BOX = [10, 5, 30, 15]  # the same, in pixels


def write(root: pathlib.Path, files: dict[str, Any]) -> None:
    """Write files by path: text, bytes, JSON (of a dict), or with None an image."""
    for number, (name, content) in enumerate(files.items()):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            content = image(path.suffix, number)
        if isinstance(content, dict):
            content = json.dumps(content)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def image(suffix: str = ".jpg", number: int = 0) -> bytes:
    if suffix.lower() in (".jpg", ".jpeg"):
        return jpeg(picture(HEIGHT, WIDTH, number))
    ending = suffix if suffix in (".png", ".webp", ".bmp", ".gif") else ".png"
    return cv2.imencode(ending, picture(HEIGHT, WIDTH, number))[1].tobytes()


def xml(
    *objects: str, size: str = f"<width>{WIDTH}</width><height>{HEIGHT}</height>", more=""
) -> str:
    """VOC's XML; an object is what is in its element, by default a cat with BOX."""
    found = "".join(f"<object>{each}</object>" for each in objects or [thing()])
    return f"<annotation>{more}<size>{size}</size>{found}</annotation>"


def thing(name: str = "cat", box: list | None = None, more: str = "") -> str:
    x1, y1, x2, y2 = box or [BOX[0] + 1, BOX[1] + 1, *BOX[2:]]
    edges = f"<xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
    return f"<name>{name}</name>{more}<bndbox>{edges}</bndbox>"


def coco(*names: str, things: list[dict] | None = None, **image_keys: Any) -> dict[str, Any]:
    """COCO's JSON with these images, by default a box in each: BOX."""
    images = [
        {"id": n, "file_name": name, "width": WIDTH, "height": HEIGHT} | image_keys
        for n, name in enumerate(names)
    ]
    box = {"category_id": 1, "bbox": [10, 5, 20, 10]}
    things = [{"image_id": n} | box for n in range(len(names))] if things is None else things
    return {
        "images": images,
        "annotations": [box | {"image_id": 0} | each for each in things],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }


def scan(form: str, root: pathlib.Path, val: float = 0.0, **others: Any) -> own.Scan:
    return own.check(own.read(form, root, val=val, **others))


def images(found: own.Scan) -> dict[str, list[str]]:
    """The usable images by split."""
    return {
        split: sorted(e.item.example.id for e in entries if e.checked.annotation is not None)
        for split, entries in found.splits.items()
    }


def boxes(found: own.Scan) -> dict[str, list]:
    """By image: (class, corners in pixels of the image)."""
    result = {}
    for entry in (entry for each in found.splits.values() for entry in each):
        if (annotation := entry.checked.annotation) is not None:
            sides = np.tile([annotation.width, annotation.height], 2)
            result[annotation.id] = [
                (found.reading.classes[label], *np.round(box * sides, 2).tolist())
                for label, box in zip(annotation.labels, annotation.boxes, strict=True)
            ]
    return result


def said(found: own.Scan) -> str:
    """All that is said about what was left out or read in another way, a line for each kind."""
    problems: dict = {}
    folder = found.reading.folder
    for entry in (entry for each in found.splits.values() for entry in each):
        check.note(problems, entry.checked)
    return "\n".join(own.lines(folder.skipped) + own.lines(folder.noted) + own.lines(problems))
