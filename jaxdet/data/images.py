"""Which files are images: decided by how a file begins, never by its name alone.

The one definition of the project: `prepare` and `predict` both use it.
"""

import os
import pathlib
from collections.abc import Iterable, Iterator

import cv2

# Extensions under which OpenCV also writes images, whatever it is built with.
IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
TEXTS = {
    ".xml", ".json", ".jsonl", ".txt", ".yaml", ".yml", ".names", ".labels", ".data", ".csv",
    ".tsv", ".md", ".html", ".log", ".cfg", ".ini", ".toml", ".py", ".ipynb", ".sh",
}  # fmt: skip
# Extensions of images; those that OpenCV cannot decode are here so that they are not passed over.
EXTENSIONS = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".gif",
    ".avif", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".exr", ".hdr",
    ".heic", ".heif", ".svg", ".jxl", ".psd", ".ico", ".tga", ".eps", ".raw",
    ".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf",
}  # fmt: skip
_KINDS = (  # what a file that OpenCV does not know begins with, and what that is
    (b"ftyphei", "HEIC"), (b"ftyphev", "HEIC"), (b"ftypmif1", "HEIC"), (b"ftypmsf1", "HEIC"),
    (b"<svg", "SVG, a drawing without pixels"), (b"8BPS", "a Photoshop file"),
    (b"JXL ", "JPEG XL"), (b"\xff\x0a", "JPEG XL"), (b"%!PS", "PostScript"), (b"%PDF", "PDF"),
    (b"\x00\x00\x01\x00", "an icon"), (b"version https://git-lfs", "a Git LFS pointer, no image"),
    (b"<!DOCTYPE html", "a web page"), (b"<html", "a web page"),
)  # fmt: skip


def images_in(
    folder: str | os.PathLike[str],
) -> tuple[list[pathlib.Path], dict[pathlib.Path, str]]:
    """Return the images below a folder, at any depth, and why other image files cannot be read.

    An image is a file that begins like one, whatever it is called: with any extension or none.
    The second value has the files that are called images (`.heic`, `.svg`, an empty `.jpg`) or
    begin like a kind that OpenCV does not decode, with the reason. Only beginnings are read:
    whether a file is complete shows when `read_image` decodes it. Hidden files and files that are
    neither are in none of the two. Both are sorted by path.

    Raises:
        ValueError: there is no such folder.
    """
    return sort_out(files_in(folder))


def sort_out(
    files: Iterable[pathlib.Path],
) -> tuple[list[pathlib.Path], dict[pathlib.Path, str]]:
    """Return which of some files are images, and why others cannot be read; see `images_in`."""
    readable, unreadable = [], {}
    for path in files:
        is_image, reason = examine(path)
        if reason:
            unreadable[path] = reason
        elif is_image:
            readable.append(path)
    return readable, unreadable


def examine(path: pathlib.Path) -> tuple[bool, str]:
    """Return whether a file is an image, and why it cannot be read if it is called one."""
    if path.suffix.lower() in TEXTS:  # "BM" or "P3" would make an image of a list of words
        return False, ""
    # As bytes: OpenCV crashes at a str that has surrogates for what is not UTF-8.
    if path.exists() and cv2.haveImageReader(os.fsencode(path)):
        return True, ""
    return False, _reason(path) or ""


def files_in(folder: str | os.PathLike[str]) -> list[pathlib.Path]:
    """List the files at any depth, sorted, without hidden files and those that macOS adds.

    Raises:
        ValueError: there is no such folder.
    """
    if not pathlib.Path(folder).is_dir():
        raise ValueError(f"no folder at {folder}")
    return sorted(filter(os.path.isfile, walk(folder)))


def walk(folder: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Yield files one after another: a folder's own, sorted, then those below.

    They are those of `files_in`, and links to what is not there.
    """
    seen = set()
    for here, below, names in os.walk(folder, followlinks=True):
        below[:] = sorted(name for name in below if name[0] != "." and name != "__MACOSX")
        if (real := os.path.realpath(here)) in seen:  # a link to a folder above itself
            below.clear()
            continue
        seen.add(real)
        files = (pathlib.Path(here, name) for name in sorted(names) if name[0] != ".")
        yield from (path for path in files if path.is_file() or path.is_symlink())


def _reason(path: pathlib.Path) -> str | None:
    """Return why a file that OpenCV does not know is no usable image; None if it is none at all."""
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        return f"it cannot be opened: {error.strerror}"
    kind = next((kind for mark, kind in _KINDS if mark in start[:300]), None)
    called = path.suffix.lower() in EXTENSIONS
    if not called and kind not in ("HEIC", "JPEG XL", "a Photoshop file"):
        return None
    if not start:
        return "an empty file"
    return f"{kind or 'the beginning of no image'}, expected JPEG, PNG or another that OpenCV reads"
