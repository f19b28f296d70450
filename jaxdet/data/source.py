"""What a dataset is made from: a name, where it comes from, and its unchecked pictures."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable

import grain
import tensorflow_datasets as tfds

_CHECKSUMS = pathlib.Path(__file__).with_name("checksums.tsv")


@dataclasses.dataclass(frozen=True)
class Source:
    """One split of a dataset, as its maker publishes it.

    `origin` says what the pictures come from (folder, checksum of the list) and is stored with
    the prepared records, so that a preparation of something else is noticed; None where
    whatever has been prepared under this name will do. `load` is given the folder for downloads
    and returns the class names and a dataset of `check.Picture`. `foreign` is the folder, the
    split's name and the box convention of the same pictures prepared by TFDS's own builder.
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
    """The checksum of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(urls: list[str], folder: pathlib.Path) -> list[pathlib.Path]:
    """Download archives, check their sums and unpack them; returns the unpacked folders.

    What is there already is not fetched again, so a broken download can simply be run again.
    """
    manager = tfds.download.DownloadManager(
        download_dir=folder,
        url_infos=tfds.core.download.checksums.load_url_infos(_CHECKSUMS),
        force_checksums_validation=True,
    )
    return [pathlib.Path(path) for path in manager.download_and_extract(urls)]
