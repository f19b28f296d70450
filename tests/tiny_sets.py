"""Small datasets on disk for the tests, laid out as their makers publish them."""

import json
import pathlib
from xml.sax.saxutils import escape

import cv2
import numpy as np


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture [H, W, 3] RGB in which every corner differs, so that a turn shows."""
    y, x = np.mgrid[:height, :width]
    red, green = 255 * x / max(width - 1, 1), 255 * y / max(height - 1, 1)
    return np.stack([red, green, np.full_like(red, 40 * seed % 256)], -1).astype(np.uint8)


def jpeg(image: np.ndarray) -> bytes:
    """A picture [H, W, 3] RGB as a JPEG of high quality."""
    options = [cv2.IMWRITE_JPEG_QUALITY, 98, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]
    return cv2.imencode(".jpg", image[..., ::-1], options)[1].tobytes()


def with_orientation(encoded: bytes, orientation: int) -> bytes:
    """A JPEG that says how it must be turned: an APP1 segment with one EXIF entry, tag 0x0112."""
    entry = b"\x01\x12\x00\x03\x00\x00\x00\x01" + bytes([0, orientation, 0, 0])
    exif = b"Exif\x00\x00MM\x00\x2a\x00\x00\x00\x08\x00\x01" + entry + b"\x00\x00\x00\x00"
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2) + exif
    return encoded[:2] + segment + encoded[2:]


def write_voc(
    devkit: pathlib.Path,
    lists: dict[str, dict[str, list[tuple]]],
    *,
    year: str = "2007",
    size: tuple[int, int] = (30, 40),
) -> None:
    """Write lists {split: {stem: [(name, xmin, ymin, xmax, ymax, difficult), ...]}}."""
    folder = devkit / f"VOC{year}"
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for split, pictures in lists.items():
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(pictures) + "\n")
        for number, (stem, objects) in enumerate(pictures.items()):
            (folder / "JPEGImages" / f"{stem}.jpg").write_bytes(jpeg(picture(*size, number)))
            (folder / "Annotations" / f"{stem}.xml").write_text(voc_xml(objects, size))


def voc_xml(objects: list[tuple], size: tuple[int, int]) -> str:
    """An annotation in VOC's XML, with a `part` inside each object as VOC2012 has them."""
    things = "".join(
        f"<object><name>{escape(name)}</name><difficult>{int(difficult)}</difficult>"
        f"<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax>"
        f"</bndbox></part><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax>"
        f"<ymax>{y2}</ymax></bndbox></object>"
        for name, x1, y1, x2, y2, difficult in objects
    )
    height, width = size
    return (
        f"<annotation><size><width>{width}</width><height>{height}</height></size>{things}"
        "</annotation>"
    )


def write_coco(
    root: pathlib.Path, images: dict[int, list[dict]], *, split: str = "val2017"
) -> None:
    """Write pictures {id: annotations} of 40 x 20 pixels; categories 3 (dog) and 7 (cat)."""
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / split).mkdir(exist_ok=True)
    listed, things = [], []
    for number, annotations in images.items():
        name = f"{number:012d}.jpg"
        (root / split / name).write_bytes(jpeg(picture(20, 40, number)))
        listed.append({"id": number, "file_name": name, "height": 20, "width": 40})
        things += [{"image_id": number} | annotation for annotation in annotations]
    categories = [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}]
    content = {"images": listed, "annotations": things, "categories": categories}
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
