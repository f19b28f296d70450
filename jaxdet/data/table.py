"""The annotations of a dataset as columns, available without reading images."""

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from jaxdet.types import Annotation

_PER_BOX = ("boxes", "labels", "difficult", "crowd", "area")


@dataclasses.dataclass(frozen=True)
class Table:
    """P images and their T boxes; the boxes of image i are rows `starts[i]:starts[i + 1]`."""

    ids: np.ndarray  # [P] str
    rows: np.ndarray  # [P] int64, position of the image in the records of its part
    sizes: np.ndarray  # [P, 2] int32 height and width
    starts: np.ndarray  # [P + 1] int64
    boxes: np.ndarray  # [T, 4] float32, fractions
    labels: np.ndarray  # [T] int32
    difficult: np.ndarray  # [T] bool
    crowd: np.ndarray  # [T] bool
    area: np.ndarray  # [T] float32 square pixels

    def annotation(self, i: int) -> Annotation:
        """Return the annotation of image i."""
        rows = slice(self.starts[i], self.starts[i + 1])
        height, width = self.sizes[i].tolist()
        columns = {name: getattr(self, name)[rows] for name in _PER_BOX}
        return Annotation(id=str(self.ids[i]), height=height, width=width, **columns)

    def trained_on(self, *, keep_difficult: bool) -> np.ndarray:
        """Return which boxes [T] to train on: no crowds, and difficult ones only if kept."""
        return ~self.crowd & (keep_difficult | ~self.difficult)

    def image_of_box(self) -> np.ndarray:
        """Return the index of the image that each box belongs to, [T]."""
        return np.repeat(np.arange(len(self.ids)), np.diff(self.starts))


def from_annotations(annotations: Iterable[Annotation], rows: Sequence[int]) -> Table:
    """Gather annotations and the record positions `rows` of their images into columns."""
    annotations = list(annotations)
    lengths = [len(annotation.labels) for annotation in annotations]
    return Table(
        ids=np.array([annotation.id for annotation in annotations], np.str_),
        rows=np.array(rows, np.int64),
        sizes=np.array([(a.height, a.width) for a in annotations], np.int32).reshape(-1, 2),
        starts=np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
        boxes=_column([a.boxes.reshape(-1, 4) for a in annotations], np.float32, (0, 4)),
        labels=_column([a.labels for a in annotations], np.int32),
        difficult=_column([a.difficult for a in annotations], np.bool_),
        crowd=_column([a.crowd for a in annotations], np.bool_),
        area=_column([a.area for a in annotations], np.float32),
    )


def concatenate(tables: Sequence[Table]) -> Table:
    """Concatenate tables; `rows` remain positions in the records of their own part."""
    columns = {
        field.name: np.concatenate([getattr(table, field.name) for table in tables])
        for field in dataclasses.fields(Table)
        if field.name != "starts"
    }
    lengths = np.concatenate([np.diff(table.starts) for table in tables])
    return Table(starts=np.concatenate([[0], np.cumsum(lengths)]), **columns)


def save(table: Table, path: pathlib.Path, *, note: str) -> None:
    """Write a table and a note about it; the file appears whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial.npz")
    np.savez(partial, note=note, **dataclasses.asdict(table))
    partial.replace(path)


def load(path: pathlib.Path) -> tuple[Table, str]:
    """Read a table and its note."""
    with np.load(path) as columns:
        return Table(**{f.name: columns[f.name] for f in dataclasses.fields(Table)}), str(
            columns["note"]
        )


def _column(parts: list[np.ndarray], dtype: type, empty: tuple[int, ...] = (0,)) -> np.ndarray:
    return np.concatenate([np.zeros(empty, dtype), *parts]).astype(dtype)
