"""What a dataset is made from: its name, its origin and its unchecked examples."""

import dataclasses
import hashlib
import pathlib
import shutil
import urllib.request
from collections.abc import Callable

import grain
import tensorflow_datasets as tfds
from absl import logging

_CHECKSUMS = pathlib.Path(__file__).with_name("checksums.tsv")


@dataclasses.dataclass(frozen=True)
class Source:
    """One split of a dataset, as published.

    `origin` says where the images come from (folder, checksum of the list) and is stored with the
    prepared records, so that records from another source are noticed; None if any records
    prepared under this name will do. `load` takes the folder for downloads and returns the class
    names and a dataset of `check.Example`. `foreign` describes the same split as prepared by TFDS's
    own builder: its folder, name and box convention.
    """

    name: str
    origin: dict[str, str] | None
    load: Callable[[pathlib.Path], tuple[tuple[str, ...], grain.MapDataset]]
    foreign: "Foreign | None" = None


@dataclasses.dataclass(frozen=True)
class Foreign:
    """Where TFDS's own builder keeps a split."""

    folder: str  # below the data folder, without the version
    split: str
    one_based: bool  # its boxes count pixels from 1: x1 = xmin / width, not (xmin - 1) / width


def sha256(path: pathlib.Path) -> str:
    """Return the SHA-256 checksum of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(urls: list[str], folder: pathlib.Path) -> list[pathlib.Path]:
    """Download archives, verify their checksums and unpack them; returns the unpacked folders.

    Complete files are not fetched again, so an interrupted download can simply be repeated.

    Raises:
        ValueError: within seconds, if the address of a missing file does not answer; if a download
            breaks off or has another checksum.
    """
    for url in urls:
        if not any(url in info.read_text() for info in folder.glob("*.INFO")):
            _check_reachable(url)
    for left_over in folder.glob("*.tmp.*"):  # TFDS restarts a broken file beside the old one
        shutil.rmtree(left_over)
    manager = tfds.download.DownloadManager(
        download_dir=folder,
        url_infos=tfds.core.download.checksums.load_url_infos(_CHECKSUMS),
        force_checksums_validation=True,
    )
    try:
        paths = manager.download(urls)
    except Exception as error:  # TFDS and its libraries have many kinds
        raise ValueError(_ELSEWHERE.format(urls[0], str(error).splitlines()[0])) from error
    return [_unpack(pathlib.Path(path), folder) for path in paths]


_SECONDS = 10  # in which an address must answer; TFDS would try for minutes
_ELSEWHERE = (
    "{} cannot be downloaded ({}); --config.data.root=FOLDER uses a folder of the unpacked data set"
)


def _check_reachable(url: str) -> None:
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_SECONDS).close()
    except OSError as error:
        raise ValueError(_ELSEWHERE.format(url, getattr(error, "reason", error))) from error


def _unpack(archive: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """Unpack a tar or zip file once; TFDS's own unpacking needs TensorFlow."""
    done = folder / "unpacked" / archive.stem
    if not done.is_dir():
        logging.info("unpacking %s", archive)
        partial = done.with_name(f"{done.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        # The filter keeps a tar file from writing outside the folder; a zip file never can.
        safely = {"filter": "data"} if archive.suffix == ".tar" else {}
        shutil.unpack_archive(archive, partial, **safely)
        partial.rename(done)
    return done
