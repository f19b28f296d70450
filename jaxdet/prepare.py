"""Make a dataset from a folder of your own images, labelled as VOC XML, COCO JSON or YOLO txt.

    python -m jaxdet.prepare --format=voc|coco|yolo --root=FOLDER --name=NAME [--val=0.1]

Then train with `--config.data.train=NAME/train --config.data.eval=NAME/val`; `NAME/test` exists if
the folder has a test set. The number and the names of the classes are those of the annotations.
Splits that the folder has (lists in `ImageSets/Main`, folders train, val or valid, test, several
json files) are kept; without a validation set, `--val` is the share of the training images that
becomes one. The command prints what it found, what it left out and why, and draws 25 images with
their boxes.
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
ROWS, CELL = 5, 400  # of the sheet: images per side, pixels per image


def prepare(form: str, root: Path, name: str, *, val: float, dir: Path) -> data.Dataset:
    """Writes a folder's images as records to `dir/NAME/SPLIT`; returns all splits, joined.

    Raises:
        ValueError: an invalid name, a folder without objects in that format, annotations that
            contradict each other, or a different dataset of that name in `dir`.
    """
    if not re.fullmatch(r"[\w-]+", name):
        raise ValueError(f"the name is {name!r}, expected letters, digits, _ and -")
    found = own.scan(form, root, val=val)
    print(f"{root}: {len(found.classes)} classes, {', '.join(found.classes)}")
    if found.chosen:
        print(f"no validation set: {found.chosen} of the training images are set aside as one")
    for line in own.lines(found.skipped):
        print(f"left out: {line}")
    sources = own.sources(found, name)
    for source in sources:
        existed = builder.is_prepared(dir, source.name)
        data.prepare(source, dir=dir)
        if existed:
            print(f"{dir / source.name} already exists, made from the same annotations")
        print(data.open(source.name, dir=dir).summary(), flush=True)
    return data.open("+".join(source.name for source in sources), dir=dir)


def sheet(dataset: data.Dataset) -> np.ndarray:
    """A sheet of up to 25 images with objects, evenly spaced, with their boxes and classes."""
    annotated = np.flatnonzero(np.diff(dataset.table.starts))
    chosen = np.linspace(0, len(annotated) - 1, min(ROWS**2, len(annotated))).astype(int)
    drawn = []
    for i in annotated[chosen].tolist():
        canvas, height, width = data.decode(dataset.encoded(i), CELL)
        image = visualize.fit(canvas[:height, :width], CELL - visualize.GAP)
        boxes = dataset.annotation(i).boxes * np.array([*image.shape[1::-1]] * 2)
        labels = dataset.annotation(i).labels
        drawn.append(visualize.draw_boxes(image, boxes, labels, classes=dataset.classes))
    return visualize.sheet(drawn, columns=ROWS, cell=CELL)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    return cli.call("prepare", __doc__, _add_arguments, _prepare, argv)


def _prepare(args: argparse.Namespace) -> None:
    dir = args.dir.expanduser()
    path = dir / args.name / SHEET
    dataset = prepare(args.format, args.root.expanduser(), args.name, val=args.val, dir=dir)
    visualize.save_png(path, sheet(dataset))
    names = [part.name for part in dataset.parts]
    print(f"image        {path}")
    print(f"prepared     {', '.join(names)} in {dir}; for --config.data.train={names[0]}")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--format", required=True, choices=sorted(own.FORMATS), help="format of the labels"
    )
    parser.add_argument("--root", type=Path, required=True, help="folder of images and labels")
    parser.add_argument("--name", required=True, help="name of the dataset in recipes")
    parser.add_argument("--val", type=float, default=0.1, help="share for validation, default 0.1")
    dir = Path("~/tensorflow_datasets")
    parser.add_argument("--dir", type=Path, default=dir, help=f"where to write, default {dir}")


if __name__ == "__main__":
    logging.set_verbosity(logging.ERROR)  # the summaries repeat its warnings
    sys.exit(main())
