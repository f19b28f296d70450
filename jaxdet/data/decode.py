"""Decodes images from bytes and files: always upright, RGB and uint8, however they are stored.

The one decoder of the project: preparation, training, evaluation and prediction all use it.
"""

import os
import pathlib

import cv2
import numpy as np

from jaxdet.types import Shape

_REDUCED = {  # only for their reduction bits; the colour flag is added separately
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
}
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, b"\xff\xd9"


def decode(encoded: bytes, canvas: int | Shape) -> tuple[np.ndarray, int, int]:
    """Decode an image into the top left corner of a black canvas; see `to_canvas`.

    Raises:
        ValueError: the bytes are not an image, or only part of one.
    """
    return to_canvas(decode_to_fit(encoded, canvas), canvas)


def to_canvas(image: np.ndarray, canvas: int | Shape) -> tuple[np.ndarray, int, int]:
    """Place an image [H, W, 3] uint8 in the top left corner of a black canvas.

    `canvas` is the side of a square one, or height and width. Returns the canvas, uint8, and the
    height and width that the image fills: its own if it fits, else the largest that fit at the same
    aspect ratio.
    """
    image = _shrink(image, canvas)
    height, width = image.shape[:2]
    filled = np.zeros((*_sides(canvas), 3), np.uint8)
    filled[:height, :width] = image
    return filled, height, width


def decode_to_fit(encoded: bytes, canvas: int | Shape) -> np.ndarray:
    """Decode an image [H, W, 3], shrunk if it is larger than the canvas; see `decode_full`."""
    size = jpeg_size(encoded)
    reduction = _reduction(size, canvas) if size else None
    return _shrink(decode_full(encoded, reduction=reduction), canvas)


def decode_full(encoded: bytes, *, reduction: int | None = None) -> np.ndarray:
    """Decode an image [H, W, 3] uint8 RGB at its own size, or 2, 4 or 8 times smaller.

    Grey, CMYK and 16-bit images become 8-bit RGB, transparency is dropped, and an image with an
    EXIF rotation is rotated upright.

    Raises:
        ValueError: the bytes are not an image, or only part of one.
    """
    flags = cv2.IMREAD_COLOR_RGB | (_REDUCED[reduction] if reduction else 0)
    return _decode(encoded, flags)


def decode_stored(encoded: bytes) -> np.ndarray:
    """Decode an image [H, W, 3] as it is stored, not rotated upright."""
    return _decode(encoded, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)


def is_dark_16_bit(encoded: bytes) -> bool:
    """Return whether a 16-bit image uses a quarter of its range at most, as 12-bit cameras do.

    16-bit images are divided by 256, so such an image is nearly black.
    """
    png = encoded.startswith(b"\x89PNG") and encoded[24:25] == b"\x10"
    if not png and not encoded.startswith((b"II*\x00", b"MM\x00*")):
        return False
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    return image is not None and image.dtype == np.uint16 and 0 < image.max() < 1 << 14


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an image file: [H, W, 3] uint8 RGB, upright.

    Raises:
        ValueError: there is no such file, or it holds no complete image.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f"no image file at {path}")
    try:
        return decode_full(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def jpeg_size(encoded: bytes) -> tuple[int, int] | None:
    """Return the height and width in a JPEG's frame header; None if there is none."""
    at = next((at for code, at in _jpeg_segments(encoded) if code in _FRAME_HEADERS), None)
    if at is None or at + 9 > len(encoded):
        return None
    return int.from_bytes(encoded[at + 5 : at + 7]), int.from_bytes(encoded[at + 7 : at + 9])


def _decode(encoded: bytes, flags: int) -> np.ndarray:
    if not encoded:
        raise ValueError("an empty file, expected an image")
    if encoded.startswith(b"\xff\xd8") and not _jpeg_is_complete(encoded):
        raise ValueError("a truncated JPEG: it has no end marker")
    try:
        image = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
    except cv2.error as error:  # e.g. more pixels than OpenCV allows
        raise ValueError(f"OpenCV cannot decode the image: {error.err}") from None
    if image is None:
        raise ValueError("not an image that OpenCV can decode, or only part of one")
    return image


def _shrink(image: np.ndarray, canvas: int | Shape) -> np.ndarray:
    height, width = image.shape[:2]
    rows, columns = _sides(canvas)
    if height <= rows and width <= columns:
        return image
    scale = min(rows / height, columns / width)
    fitted = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, fitted, interpolation=cv2.INTER_AREA)


def _reduction(size: Shape, canvas: int | Shape) -> int | None:
    """Return the largest reduction while decoding that still fills the canvas."""
    fills = lambda factor: any(
        side // factor >= limit for side, limit in zip(size, _sides(canvas), strict=True)
    )
    return next(filter(fills, _REDUCED), None)


def _sides(canvas: int | Shape) -> Shape:
    return (canvas, canvas) if isinstance(canvas, int) else canvas


def _jpeg_is_complete(encoded: bytes) -> bool:
    """Return whether an end marker follows the first scan.

    Some versions of OpenCV silently fill the missing part of a truncated JPEG with grey. The
    search begins at the first scan because a thumbnail in the header has its own end marker.
    """
    scan = next((at for code, at in _jpeg_segments(encoded) if code == _START_OF_SCAN), None)
    return scan is not None and encoded.find(_END_OF_IMAGE, scan) >= 0


def _jpeg_segments(encoded: bytes):
    """Yield the marker code and position of a JPEG's segments, up to the first scan."""
    at = 2
    while at + 4 <= len(encoded) and encoded[at] == 0xFF and encoded[:2] == b"\xff\xd8":
        code = encoded[at + 1]
        if code == 0xFF:  # a fill byte
            at += 1
            continue
        yield code, at
        if code == _START_OF_SCAN:
            return
        at += 2 + int.from_bytes(encoded[at + 2 : at + 4])
