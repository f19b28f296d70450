"""Opens prepared records for reading, from this package or from TFDS's own builders."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import grain
import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from tqdm import tqdm

from jaxdet.data import builder, table
from jaxdet.data.check import Example, Problems, check_all, note, warn
from jaxdet.data.decode import jpeg_size
from jaxdet.data.source import Foreign
from jaxdet.types import Annotation


@dataclasses.dataclass(frozen=True)
class Part:
    """One split: its records, its annotations, and the problems found when preparing it."""

    name: str
    classes: tuple[str, ...]
    records: Sequence[dict[str, Any]]  # TFDS examples, the image still encoded
    table: table.Table
    problems: Problems


def open_own(dir: pathlib.Path, name: str) -> Part:
    """Open records that `builder.prepare` wrote."""
    reader = builder.reader(dir, name)
    records, classes = _open(reader, builder.SPLIT)
    path = dir / name / builder.VERSION / "annotations.npz"
    if not path.is_file():
        annotations = [_annotation(record) for record in _bar(records, f"Reading {name}")]
        table.save(table.from_annotations(annotations, range(len(records))), path, note="")
    return Part(name, classes, records, table.load(path)[0], reader.info.metadata["problems"])


def find_foreign(dir: pathlib.Path, foreign: Foreign) -> pathlib.Path | None:
    """Return the folder of the newest version that TFDS's own builder wrote to `dir`, if any."""
    versions = [path.parent for path in (dir / foreign.folder).glob("*/dataset_info.json")]
    return max(versions, key=lambda path: tfds.core.Version(path.name), default=None)


def open_foreign(folder: pathlib.Path, name: str, foreign: Foreign) -> Part:
    """Open records that TFDS's own builder wrote, as they are.

    Every image is checked the first time; the result is saved beside the records.

    Raises:
        ValueError: the records are not `array_record`, or the split is not among them.
    """
    reader = tfds.builder_from_directory(folder)
    records, classes = _open(reader, foreign.split)
    path = folder / f"jaxdet_annotations_{foreign.split}.npz"
    state = {"bytes": reader.info.splits[foreign.split].num_bytes, "records": len(records)}
    if path.is_file():
        columns, text = table.load(path)
        note = json.loads(text)
        if note["state"] == state:
            return Part(name, classes, records, columns, note["problems"])
    columns, problems = _check_foreign(records, classes, name, one_based=foreign.one_based)
    note = json.dumps({"state": state, "problems": problems})
    try:
        table.save(columns, path, note=note)
    except OSError as error:
        logging.warning(
            "%s: the check cannot be saved and will run again next time: %s", name, error
        )
    return Part(name, classes, records, columns, problems)


def _open(
    reader: tfds.core.DatasetBuilder, split: str
) -> tuple[Sequence[dict[str, Any]], tuple[str, ...]]:
    """Return the records of a split, with images left encoded, and the class names."""
    info = reader.info
    if info.file_format != tfds.core.FileFormat.ARRAY_RECORD:
        raise ValueError(
            f"{reader.data_dir} holds {info.file_format.value} records; prepare the dataset with "
            "file_format='array_record', or move the folder away and give the dataset's root"
        )
    if split not in info.splits:
        raise ValueError(f"{reader.data_dir} has no split {split!r}; found {sorted(info.splits)}")
    records = reader.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
    return records, tuple(info.features["objects"]["label"].names)


def _bar(records: Sequence[dict[str, Any]], text: str) -> tqdm:
    return tqdm(records, desc=text, total=len(records), unit=" images", leave=False)


def _annotation(record: dict[str, Any]) -> Annotation:
    return Annotation(
        id=record["image/filename"].decode(),
        height=int(record["image/height"]),
        width=int(record["image/width"]),
        boxes=_corners(record["objects"]["bbox"]),
        labels=np.array(record["objects"]["label"], np.int32),
        difficult=np.array(record["objects"]["is_difficult"], bool),
        crowd=np.array(record["objects"]["is_crowd"], bool),
        area=np.array(record["objects"]["area"], np.float32),
    )


def _corners(boxes_yxyx: Sequence[np.ndarray]) -> np.ndarray:
    return np.array(boxes_yxyx, np.float32).reshape(-1, 4)[:, [1, 0, 3, 2]]


def _check_foreign(
    records: Sequence[dict[str, Any]], classes: tuple[str, ...], name: str, *, one_based: bool
) -> tuple[table.Table, Problems]:
    def example(record: dict[str, Any]) -> Example:
        return _foreign_example(record, classes, one_based=one_based)

    annotations, rows, problems = [], [], {}
    examples = grain.MapDataset.source(records).map(example)
    for row, checked in enumerate(check_all(examples, classes, name)):
        note(problems, checked)
        if checked.annotation is not None:
            annotations.append(checked.annotation)
            rows.append(row)
    warn(problems, name)
    if not rows:
        raise ValueError(f"{name} has no usable image: {problems or 'no records'}")
    return table.from_annotations(annotations, rows), problems


def _foreign_example(
    record: dict[str, Any], classes: tuple[str, ...], *, one_based: bool
) -> Example:
    objects, file = record["objects"], record["image/filename"].decode()
    boxes = _corners(objects["bbox"]).astype(np.float64)
    size = jpeg_size(record["image"])
    if one_based and size:  # TFDS scales VOC's 1-based pixels without subtracting 1
        boxes[:, :2] -= 1 / np.array(size[::-1])
    none = np.zeros(len(boxes), bool)
    return Example(
        id=str(record["image/id"]) if "image/id" in record else pathlib.Path(file).stem,
        file=file,
        encoded=record["image"],
        size=None,
        boxes=boxes,
        names=[classes[label] for label in objects["label"]],
        difficult=np.array(objects.get("is_difficult", none), bool),
        crowd=np.array(objects.get("is_crowd", none), bool),
        area=np.array(objects.get("area", np.full(len(boxes), np.nan)), np.float64),
    )
