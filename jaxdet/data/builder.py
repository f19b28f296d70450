"""Writes checked examples to `array_record` files, with one feature spec for every source."""

import contextlib
import io
import pathlib
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import filelock
import grain
import numpy as np
import tensorflow_datasets as tfds

from jaxdet.data.check import Checked, Problems, check_all, note, warn
from jaxdet.data.source import Source
from jaxdet.types import Annotation

VERSION = "1.0.0"
# The only split in the folder of a name such as voc_2012_train or cells/train. The word is in the
# records on disk: changing it makes them unreadable.
SPLIT = "pictures"
_STAGING = ".incomplete"  # records are written here, and moved to their place when all are complete


class Records(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """The TFDS builder of every dataset here, given its examples."""

    # The builder downloads nothing. To look for checksums, TFDS 4.9 would import the package
    # importlib_resources, which is not among its requirements.
    url_infos = {}

    def __init__(
        self,
        name: str,
        *,
        data_dir: pathlib.Path,
        classes: tuple[str, ...],
        examples: grain.MapDataset,
        origin: dict[str, str],
    ):
        _check_classes(classes, name)
        self._title, self.name = name, pathlib.Path(name).name
        self.VERSION = tfds.core.Version(VERSION)
        self._classes, self._examples, self._origin = classes, examples, origin
        super().__init__(data_dir=(data_dir / name).parent, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        metadata = tfds.core.MetadataDict(origin=self._origin, problems={})
        features = {
            "image": tfds.features.Image(),
            "image/filename": tfds.features.Text(),  # the id, with no extension
            "image/height": np.int32,
            "image/width": np.int32,
            "objects": tfds.features.Sequence(
                {
                    "bbox": tfds.features.BBoxFeature(),
                    "label": tfds.features.ClassLabel(names=self._classes),
                    "is_difficult": np.bool_,
                    "is_crowd": np.bool_,
                    "area": np.float32,
                }
            ),
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), metadata=metadata
        )

    def _split_generators(self, dl_manager):
        return {SPLIT: self._generate_examples()}

    def _generate_examples(self):
        problems: Problems = {}
        written = set()
        for checked in check_all(self._examples, self._classes, self._title):
            note(problems, checked)
            if checked.annotation is not None:
                id = checked.annotation.id
                if id in written:
                    raise ValueError(f"{self._title} has two images named {id}")
                written.add(id)
                yield id, _features(checked)
        warn(problems, self._title)
        if not written:
            raise ValueError(f"{self._title} has no usable image: {problems or 'an empty list'}")
        self.info.metadata["problems"] = problems


def prepare(source: Source, *, dir: pathlib.Path) -> None:
    """Write the records of a source to `dir / name`; see `prepare_all`."""
    prepare_all([source], dir=dir)


def prepare_all(sources: Sequence[Source], *, dir: pathlib.Path) -> None:
    """Write the records of sources to `dir / name`, all of them or none, unless they exist already.

    An interrupted preparation leaves no usable records: run it again.

    Raises:
        ValueError: a class is unknown, no image is usable, or existing records were prepared
            from another source.
    """
    if not _missing(sources, dir):
        return
    dir.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(dir / ".lock"):  # one process at a time downloads and prepares
        staging = dir / _STAGING
        shutil.rmtree(staging, ignore_errors=True)  # of a process that was killed
        try:
            missing = _missing(sources, dir)  # another process may have got there first
            for source in missing:
                _write(source, staging, downloads=dir / "downloads")
            for source in missing:
                (dir / source.name).mkdir(parents=True, exist_ok=True)
                (staging / source.name / VERSION).replace(dir / source.name / VERSION)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _missing(sources: Sequence[Source], dir: pathlib.Path) -> list[Source]:
    """Return the sources that are not prepared yet, after a check of those that are."""
    for source in sources:
        if is_prepared(dir, source.name):
            check_origin(source.name, source.origin, dir=dir)
    return [source for source in sources if not is_prepared(dir, source.name)]


def check_origin(name: str, origin: dict[str, str] | None, *, dir: pathlib.Path) -> None:
    """Raise ValueError if records were prepared from another origin than this; None is any."""
    found = dict(reader(dir, name).info.metadata["origin"])
    if origin in (None, found):
        return
    keys = [key for key in found | origin if found.get(key) != origin.get(key)]
    changed = "; ".join(
        f"{key}: {found.get(key, 'none')} then, {origin.get(key, 'none')} now" for key in keys
    )
    raise ValueError(
        f"{dir / name} was prepared from another source ({changed}). "
        "Use another folder or name for prepared data, or delete this one to prepare it again."
    )


def is_prepared(dir: pathlib.Path, name: str) -> bool:
    """Return whether `dir` holds the complete records of a dataset."""
    return (dir / name / VERSION / "dataset_info.json").is_file()


def prepared(dir: pathlib.Path) -> list[str]:
    """Return the names of the datasets whose complete records `dir` holds."""
    found = [*dir.glob(f"*/{VERSION}/dataset_info.json")]
    found += dir.glob(f"*/*/{VERSION}/dataset_info.json")  # NAME/train
    names = sorted(path.parents[1].relative_to(dir).as_posix() for path in found)
    return [name for name in names if not name.startswith(_STAGING)]


def reader(dir: pathlib.Path, name: str) -> tfds.core.DatasetBuilder:
    """Return the TFDS builder that reads the complete records of a dataset."""
    return tfds.builder_from_directory(dir / name / VERSION)


def _write(source: Source, dir: pathlib.Path, *, downloads: pathlib.Path) -> None:
    classes, examples = source.load(downloads)
    builder = Records(
        source.name,
        data_dir=dir,
        classes=classes,
        examples=examples,
        origin=source.origin or {"root": "downloaded"},
    )
    with _quiet_tfds():
        builder.download_and_prepare()


def _check_classes(classes: tuple[str, ...], title: str) -> None:
    """Raise ValueError for class names that TFDS, which stores one per line, would misread."""
    for name in classes:
        if not name or name != name.strip() or len(name.splitlines()) > 1:
            raise ValueError(
                f"{title} has a class called {name!r}, expected a single line that is not empty "
                "and does not begin or end with whitespace"
            )
    if twice := sorted({name for name in classes if classes.count(name) > 1}):
        raise ValueError(f"{title} has two classes called {twice[0]!r}")


def _features(checked: Checked) -> dict[str, Any]:
    annotation: Annotation = checked.annotation
    columns = zip(
        annotation.boxes.tolist(),
        annotation.labels.tolist(),
        annotation.difficult.tolist(),
        annotation.crowd.tolist(),
        annotation.area.tolist(),
        strict=True,
    )
    return {
        "image": checked.example.encoded,
        "image/filename": annotation.id,
        "image/height": annotation.height,
        "image/width": annotation.width,
        "objects": [
            {
                "bbox": tfds.features.BBox(ymin=y1, xmin=x1, ymax=y2, xmax=x2),
                "label": label,
                "is_difficult": difficult,
                "is_crowd": crowd,
                "area": area,
            }
            for (x1, y1, x2, y2), label, difficult, crowd, area in columns
        ],
    }


@contextlib.contextmanager
def _quiet_tfds() -> Iterator[None]:
    """Keep TFDS from announcing a download and from showing progress bars without a total."""
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.enable_progress_bar()
