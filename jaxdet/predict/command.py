"""Detect objects in images, videos and streams, and draw them.

    python -m jaxdet.predict --workdir=DIR --input=FILE_OR_FOLDER --output=DIR
    python -m jaxdet.predict --model=FILE.onnx --input=...      a file of `jaxdet export`

writes to the output folder every image and video with boxes, under the same relative path, and

- `detections.json`, in COCO's results format: a list of `image_id`, `category_id`, `bbox` (x, y,
  width, height in pixels) and `score`, plus `category_name`, `file_name` and, for videos, `frame`,
  counted from 0, for streams also `seconds`;
- `image_info.json`, in the format of COCO's file of that name: `images` and `categories`, so that
  pycocotools reads the two as `COCO("image_info.json").loadRes("detections.json")`.

`category_id` is the position of the class in the detector's list, counted from 1. `image_id` is the
number in the file name if every file has its own (as in COCO and VOC), else images count from 1.

    ... --input=0                                  a webcam; rtsp://... and http://... are streams
    ... --score=0.5 --classes=cat,dog --save=txt,crops
    ... --tile=640 --overlap=0.2                   large images with small objects
    ... --shard=2/8                                the second of eight processes; can be resumed
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import jaxdet
from jaxdet import choices, cli
from jaxdet.engine import settings as settings_
from jaxdet.engine.settings import Settings
from jaxdet.predict.files import Shard
from jaxdet.predict.outputs import KINDS
from jaxdet.predict.run import Summary, predict


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns 2 if nothing could be read."""
    return cli.call("predict", __doc__, _add_arguments, _predict, argv)


def _predict(args: argparse.Namespace) -> int:
    settings = _settings(args)
    settings_.check(settings)  # before the detector is loaded, which takes seconds
    save = _listed(args.save)
    for kind in save:
        choices.check_name(kind, KINDS, "--save")
    shard = Shard.parse(args.shard) if args.shard else None
    detector = jaxdet.load(args.workdir)
    for name in args.classes or ():
        choices.check_name(name, detector.classes, "--classes")
    given = dict(save=save, shard=shard, **settings)
    summary = predict(detector, args.input, args.output, **given)
    return _say(args, summary, "json" in save)


def _say(args: argparse.Namespace, summary: Summary, writes_json: bool) -> int:
    """Prints what was done; returns the exit code."""
    if summary.skipped and not summary.images:
        print(f"jaxdet: none of {summary.skipped} files could be read, see above", file=sys.stderr)
        return 2
    where = str(args.output / "detections.json" if writes_json else args.output)
    if not summary.is_merged:
        where += " follows when the other shards are complete"
    print(
        f"{summary.detections} detections above {args.score:g} in {summary.images} images: {where}"
    )
    if summary.skipped:
        print(f"{summary.skipped} files could not be read, see above", file=sys.stderr)
    return 0


def _settings(args: argparse.Namespace) -> Settings:
    keys = ("score", "iou", "classes", "agnostic", "max", "tile", "overlap", "batch_size")
    given = {key: getattr(args, key) for key in keys}
    return Settings(**{key: value for key, value in given.items() if value is not None})


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    user = os.path.expanduser  # the shell does not expand --output=~/out
    add = parser.add_argument
    add(
        "--workdir", "--model", required=True, help="folder of a trained detector, or exported file"
    )
    add(
        "--input",
        type=user,
        required=True,
        help="image, video, folder, number of a camera, or address",
    )
    add("--output", type=lambda text: Path(user(text)), required=True, help="folder to write to")
    old = ("--score_threshold",)
    add("--score", *old, type=float, default=0.3, help="only detections above it, default 0.3")
    add("--iou", type=float, help="overlap above which NMS drops a box, default the recipe's")
    add("--classes", type=_listed, help="only these, such as cat,dog")
    add("--agnostic", action="store_true", help="boxes of different classes suppress each other")
    add("--max", type=int, help="the best so many of an image, default the recipe's")
    add("--tile", type=int, help="also detect in tiles, squares of so many pixels")
    add("--overlap", type=float, help="share of a tile that neighbours have in common, 0.2")
    add("--save", default="image,json", help="some of image,txt,crops,json; default image,json")
    add("--shard", help="i/n: only the part i of n of the files; goes on where it ended")
    add("--batch_size", type=int, default=8, help="images at a time, default 8")
