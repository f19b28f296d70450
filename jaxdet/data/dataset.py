"""A dataset by name: its classes, annotations, images and summary."""

import dataclasses
import difflib
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from jaxdet.data import builder, check, coco, part, shapes, table, voc
from jaxdet.data.decode import decode_full
from jaxdet.data.source import Source
from jaxdet.types import Annotation

_SETS = (voc, coco, shapes)
_COLUMNS = 3  # of the table of classes


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Prepared images and their annotations; images are numbered over all parts."""

    name: str
    classes: tuple[str, ...]
    parts: tuple[part.Part, ...]
    table: table.Table
    part_of: np.ndarray  # [P] the part that each image is in

    def __len__(self) -> int:
        return len(self.table.ids)

    @property
    def ids(self) -> Sequence[str]:
        """The id of every image: the file's stem (VOC), or COCO's number in decimal."""
        return self.table.ids

    def annotation(self, i: int) -> Annotation:
        """Return the annotation of image i."""
        return self.table.annotation(i)

    def annotations(self) -> list[Annotation]:
        """Return the annotations of all images, without reading an image."""
        return [self.annotation(i) for i in range(len(self))]

    def encoded(self, i: int) -> bytes:
        """Return the original encoded file of image i."""
        return self.parts[self.part_of[i]].records[int(self.table.rows[i])]["image"]

    def checked(self, i: int, keep: np.ndarray) -> check.Checked:
        """Return image i and those of its boxes to `keep` [n], as `check` judges what is stored."""
        stored = self.annotation(i)
        size = (stored.height, stored.width)
        example = check.Example(
            id=stored.id,
            file=stored.id,
            encoded=self.encoded(i),
            size=size,
            boxes=stored.boxes[keep] * np.array([size[1], size[0]] * 2),
            names=[self.classes[label] for label in stored.labels[keep]],
            difficult=stored.difficult[keep],
            crowd=stored.crowd[keep],
            area=stored.area[keep],
            pixels=True,
        )
        return check.check(example, self.classes)

    def image(self, i: int) -> np.ndarray:
        """Return image i at its own size, [H, W, 3] uint8 RGB."""
        return decode_full(self.encoded(i))

    def summary(self) -> str:
        """Summarise in a few lines: splits, images, boxes per class, and what was skipped."""
        lines = [f"{self.name}: {len(self):,} pictures, {_boxes(self.table)}"]
        if len(self.parts) > 1:
            lines += [
                f"  {p.name}: {len(p.table.ids):,} pictures, {_boxes(p.table)}" for p in self.parts
            ]
        without = int((np.diff(self.table.starts) == 0).sum())
        lines += [f"  images without boxes: {without:,}"] if without else []
        lines += ["  boxes per class:", *_class_lines(self.classes, self.table.labels)]
        return "\n".join(lines + [line for p in self.parts for line in _problem_lines(p)])


def open(
    names: str, *, dir: str | os.PathLike[str], root: str | os.PathLike[str] | None = None
) -> Dataset:
    """Open datasets by name, joined with `+`, and prepare those that are not prepared yet.

    `dir` holds the prepared records and the downloads. `root` is a dataset on disk as published
    (a VOCdevkit, a COCO folder); without it, records already prepared under the name are used,
    from this package or from TFDS's own builder, and otherwise the dataset is downloaded.

    Raises:
        ValueError: a name, split or root does not exist, a split is empty, the datasets have
            different classes or share images, or `dir` has records of the same name that were
            prepared from another source.
    """
    dir = pathlib.Path(dir).expanduser()
    root = pathlib.Path(root).expanduser() if root is not None else None
    sources = [source for name in names.split("+") for source in _find(name.strip(), dir, root)]
    parts = tuple(_open_part(source, dir) for source in sources)
    for other in parts[1:]:
        if other.classes != parts[0].classes:
            raise ValueError(
                f"{parts[0].name} and {other.name} cannot be joined, their classes differ: "
                f"{parts[0].classes} and {other.classes}"
            )
    part_of = np.repeat(np.arange(len(parts)), [len(p.table.ids) for p in parts])
    columns = table.concatenate([p.table for p in parts])
    ids, counts = np.unique(columns.ids, return_counts=True)
    if (counts > 1).any():
        raise ValueError(f"{names!r} has more than one image {str(ids[counts > 1][0])!r}")
    return Dataset(names, parts[0].classes, parts, columns, part_of)


def classes(
    names: str, *, dir: str | os.PathLike[str], root: str | os.PathLike[str] | None = None
) -> tuple[str, ...]:
    """Return the class names of the datasets that `open` opens with the same arguments.

    For VOC and COCO as published, nothing is opened or downloaded.
    """
    first = names.split("+")[0].strip()
    if root is None and not builder.is_prepared(pathlib.Path(dir).expanduser(), first):
        for module in _SETS:
            if module.find(first, None) is not None:
                return module.CLASSES
    return open(names, dir=dir, root=root).classes


def _find(name: str, dir: pathlib.Path, root: pathlib.Path | None) -> list[Source]:
    is_prepared = builder.is_prepared(dir, name)
    if root is not None or not is_prepared:
        for module in _SETS:
            if (sources := module.find(name, root)) is not None:
                return sources
    if is_prepared:
        return [Source(name, None, _nothing_to_load)]
    prepared = builder.prepared(dir)
    known = [module.NAMES for module in _SETS]
    near = difflib.get_close_matches(name, ["voc_2012_train", "coco_2017_train", *prepared], n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise ValueError(
        f"no dataset {name!r}{hint}; expected {', '.join(known)}; prepared in {dir}: "
        f"{', '.join(prepared) or 'none'}"
    )


def _nothing_to_load(downloads: pathlib.Path):
    raise AssertionError("tried to prepare a dataset that is already prepared")


def _open_part(source: Source, dir: pathlib.Path) -> part.Part:
    any_origin = source.origin is None and not builder.is_prepared(dir, source.name)
    if any_origin and source.foreign and (folder := part.find_foreign(dir, source.foreign)):
        return part.open_foreign(folder, source.name, source.foreign)
    builder.prepare(source, dir=dir)
    return part.open_own(dir, source.name)


def _boxes(columns: table.Table) -> str:
    kinds = {"difficult": columns.difficult.sum(), "crowd": columns.crowd.sum()}
    of_which = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items() if count)
    return f"{len(columns.labels):,} boxes" + (f" ({of_which})" if of_which else "")


def _class_lines(classes: tuple[str, ...], labels: np.ndarray) -> list[str]:
    counts = np.bincount(labels, minlength=len(classes))
    width = max(map(len, classes))
    cells = [f"{name:<{width}} {count:>9,}" for name, count in zip(classes, counts, strict=True)]
    rows = -(-len(cells) // _COLUMNS)
    return ["    " + "    ".join(cells[row::rows]) for row in range(rows)]


def _problem_lines(p: part.Part) -> list[str]:
    return [
        f"  {p.name}: {reason}: {entry['count']:,} (first: {entry['files'][0]})"
        for reason, entry in p.problems.items()
    ]
