"""Make a dataset of your own pictures: VOC-XML, COCO json or YOLO-txt, as found in a folder.

    python -m jaxdet.prepare --format=voc|coco|yolo --root=FOLDER --name=NAME [--val=0.1]

`--config.data.train=NAME/train --config.data.eval=NAME/val` then uses it, `NAME/test` where the
folder has one. Classes, their number and their names are those of the annotations. Splits that the
folder has (lists in `ImageSets/Main`, folders train, val or valid, test, several json files) are
honoured; without a validation set, `--val` says which share of the training pictures becomes it.
It prints what it found, what it left out and why, and draws 25 pictures with their boxes.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import logging

from jaxdet import cli, data, visualize
from jaxdet.data import builder, own

SHEET = "sheet.png"
ROWS, CELL = 5, 400  # of the sheet: pictures a side, pixels a picture


def prepare(form: str, root: Path, name: str, *, val: float, dir: Path) -> data.Dataset:
    """Writes the records of a folder's pictures as `dir/NAME/SPLIT`; returns all splits, joined.

    Raises:
        ValueError: a name that is none, a folder without objects in that form, annotations that
            contradict each other, or another preparation of that name in `dir`.
    """
    if not re.fullmatch(r"[\w-]+", name):
        raise ValueError(f"the name is {name!r}, expected letters, digits, _ and -")
    found = own.scan(form, root, val=val)
    print(f"{root}: {len(found.classes)} classes, {', '.join(found.classes)}")
    if found.chosen:
        print(f"no validation set there: {found.chosen} of the training pictures make it")
    for line in own.lines(found.skipped):
        print(f"left out: {line}")
    sources = own.sources(found, name)
    for source in sources:
        known = builder.is_prepared(dir, source.name)
        data.prepare(source, dir=dir)
        if known:
            print(f"{dir / source.name} is there already, from the same annotations")
        print(data.open(source.name, dir=dir).summary(), flush=True)
    return data.open("+".join(source.name for source in sources), dir=dir)


def sheet(dataset: data.Dataset) -> np.ndarray:
    """Up to 25 pictures, evenly chosen among those with objects, with their boxes and classes."""
    annotated = np.flatnonzero(np.diff(dataset.table.starts))
    few = np.linspace(0, len(annotated) - 1, min(ROWS**2, len(annotated))).astype(int)
    pictures = []
    for i in annotated[few].tolist():
        canvas, height, width = data.decode(dataset.encoded(i), CELL)
        boxes = dataset.annotation(i).boxes * np.array([width, height] * 2)
        labels = dataset.annotation(i).labels
        picture = canvas[:height, :width]
        pictures.append(visualize.draw_boxes(picture, boxes, labels, classes=dataset.classes))
    return visualize.sheet(pictures, columns=ROWS, cell=CELL)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program."""
    return cli.call("prepare", __doc__, _add_arguments, _prepare, argv)


def _prepare(args: argparse.Namespace) -> None:
    dir = args.dir.expanduser()
    image = dir / args.name / SHEET
    dataset = prepare(args.format, args.root.expanduser(), args.name, val=args.val, dir=dir)
    visualize.save_png(image, sheet(dataset))
    names = [part.name for part in dataset.parts]
    print(f"image        {image}")
    print(f"prepared     {', '.join(names)} in {dir}; for --config.data.train={names[0]}")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", required=True, choices=sorted(own.FORMS), help="of the labels")
    parser.add_argument("--root", type=Path, required=True, help="folder of images and labels")
    parser.add_argument("--name", required=True, help="how recipes will call the dataset")
    parser.add_argument("--val", type=float, default=0.1, help="share for validation, default 0.1")
    dir = Path("~/tensorflow_datasets")
    parser.add_argument("--dir", type=Path, default=dir, help=f"where to write, default {dir}")


if __name__ == "__main__":
    logging.set_verbosity(logging.ERROR)  # the summaries say what it warns of
    sys.exit(main())
