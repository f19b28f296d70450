"""Make a dataset from a folder of your own images, labelled as VOC XML, COCO JSON or YOLO txt.

    python -m jaxdet.prepare --format=voc|coco|yolo --root=FOLDER --name=NAME [--val=0.1]
    python -m jaxdet.prepare --format=yolo --root=photos --name=mine

Then train with `--config.data.train=NAME/train --config.data.eval=NAME/val`; `NAME/test` exists if
the folder has a test set. The number and the names of the classes are those of the annotations.
Splits that the folder has (lists in `ImageSets/Main`, folders train, val or valid, test, several
json files) are kept; without a validation set, `--val` is the share of the training images that
becomes one. The command prints what it found, what it left out and why, and draws 25 images with
their boxes.
"""

import argparse
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import logging

from jaxdet import cli, data, visualize
from jaxdet.data import builder, own
from jaxdet.data.splits import SPLITS

SHEET = "sheet.png"
DIR = Path("~/tensorflow_datasets")
ROWS, CELL = 5, 400  # of the sheet: images per side, pixels per image


def prepare(
    form: str, root: Path, name: str, *, val: float, dir: Path, background: bool = False
) -> data.Dataset:
    """Writes a folder's images as records to `dir/NAME/SPLIT`; returns all splits, joined.

    Everything is read and checked before anything is written, and all splits are written or none.

    Raises:
        ValueError: an invalid name, a folder without objects in that format, annotations that
            contradict each other, or a different dataset of that name in `dir`.
    """
    if not re.fullmatch(r"[\w-]+", name):
        raise ValueError(f"the name is {name!r}, expected letters, digits, _ and -")
    reading = own.read(form, root, val=val, background=background)
    names = [f"{name}/{split}" for split in SPLITS if builder.is_prepared(dir, f"{name}/{split}")]
    if names:
        for each in names:
            builder.check_origin(each, reading.origin, dir=dir)
            print(f"{dir / each} already exists, made from the same annotations")
    else:
        names = _write(reading, name, dir)
    for each in names:
        print(data.open(each, dir=dir).summary(), flush=True)
    return data.open("+".join(names), dir=dir)


def _write(reading: own.Reading, name: str, dir: Path) -> list[str]:
    """Checks and writes all splits, and says what was found; returns their names."""
    found = own.check(reading)
    classes, folder = reading.classes, reading.folder
    print(f"{folder.root}: {len(classes)} classes, {', '.join(classes)}")
    if found.warning:
        print(f"warning: {found.warning}")
    if found.chosen:
        print(f"no validation set: {found.chosen} of the training images are set aside as one")
    for line in own.lines(folder.skipped):
        print(f"left out: {line}")
    for line in own.lines(folder.noted):
        print(f"note: {line}")
    sources = own.sources(found, name)
    data.prepare_all(sources, dir=dir)
    return [source.name for source in sources]


def next_command(name: str, splits: Sequence[str], dir: Path) -> str:
    """The command to go on with: training if there is a training set, else an evaluation."""
    evaluated = next((split for split in ("val", "test") if split in splits), None)
    keys = (
        [] if dir == DIR.expanduser() else [f"--config.data.dir={shlex.quote(str(dir.absolute()))}"]
    )
    if "train" not in splits:
        keys.append(f"--config.data.eval={name}/{evaluated}")
        return " ".join(["jaxdet eval --workdir=WORKDIR", *keys])
    keys.append(f"--config.data.train={name}/train")
    keys.append(f"--config.data.eval={name}/{evaluated or 'train'}")
    keys += [] if evaluated else ["--config.every.evaluation=0"]
    return " ".join([f"jaxdet train --config=quickstart --workdir=runs/{name}", *keys])


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
    form, root, background = args.format, args.root.expanduser(), args.background
    dataset = prepare(form, root, args.name, val=args.val, dir=dir, background=background)
    visualize.save_png(path, sheet(dataset))
    names = [part.name for part in dataset.parts]
    print(f"image        {path}")
    print(f"prepared     {', '.join(names)} in {dir}")
    if f"{args.name}/train" not in names:
        print("no training set: these can only be evaluated on")
    print(f"next         {next_command(args.name, [name.split('/')[1] for name in names], dir)}")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--format", required=True, choices=sorted(own.FORMATS), help="format of the labels"
    )
    parser.add_argument("--root", type=Path, required=True, help="folder of images and labels")
    parser.add_argument("--name", required=True, help="name of the dataset in recipes")
    parser.add_argument(
        "--val", type=cli.share, default=0.1, help="share for validation, default 0.1"
    )
    parser.add_argument(
        "--background",
        action="store_true",
        help="keep images without an annotation, as images without objects (YOLO's always are)",
    )
    parser.add_argument("--dir", type=Path, default=DIR, help=f"where to write, default {DIR}")


if __name__ == "__main__":
    logging.set_verbosity(logging.ERROR)  # the summaries repeat its warnings
    sys.exit(main())
