"""Write a trained detector to a file that runs without jaxdet.

    python -m jaxdet.export --workdir=runs/quickstart --format=onnx --output=quickstart.onnx
    python -m jaxdet.export --workdir=runs/quickstart --format=stablehlo \
        --output=quickstart.jaxdet --check=photos

The file takes `images` [B, H, W, 3], RGB in 0..255, normalises them itself, and returns
`num_detections`, `detection_boxes` (x1 y1 x2 y2 in pixels of the input), `detection_scores` and
`detection_classes`; with --nms=none `boxes` and `scores` before NMS. It knows its class names, its
input, and how detections are chosen. --check runs the file and the live detector on the images of a
folder, prints the largest differences, and ends with exit status 1 if they find different things.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import jaxdet
from jaxdet import cli
from jaxdet.exports import check
from jaxdet.exports.write import FORMATS, export, input_shape


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns 1 if --check finds a difference."""
    return cli.call("export", __doc__, _add_arguments, _export, argv)


def _export(args: argparse.Namespace) -> int:
    if args.check and args.nms == "none":
        raise ValueError("--check compares detections, and --nms=none exports none")
    detector = jaxdet.load(args.workdir)
    options = dict(batch=args.batch, nms=args.nms, size=args.size, dtype=args.dtype)
    export(detector, args.output, format=args.format, **options)
    print(f"{args.format:9}  {args.output} ({args.output.stat().st_size / 2**20:.1f} MiB)")
    if args.check is None:
        return 0
    run, worst = check.runner(args.output, args.format), 0
    given = dict(shape=input_shape(detector, args.size), dtype=args.dtype)
    for batch_size in [args.batch] if args.batch else [1, 8]:
        found = check.compare(detector, run, args.check, batch_size=batch_size, **given)
        print(f"batch {batch_size}: {found}")
        worst |= not found.equal
    return worst


def _batch(text: str) -> int | None:
    return None if text == "any" else cli.positive(text)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--workdir", required=True, help="folder of a trained detector")
    add("--format", required=True, choices=FORMATS, help="what to write")
    add("--output", required=True, type=Path, help="the file")
    add("--batch", type=_batch, default=None, help="number of images, or any (default)")
    add("--nms", choices=("inside", "none"), default="inside", help="default inside")
    add("--size", type=cli.positive, help="side of the input, default the recipe's")
    add("--dtype", choices=("uint8", "float32"), default="uint8", help="of images, default uint8")
    add("--check", type=Path, metavar="FOLDER", help="compare with the live detector")


if __name__ == "__main__":
    sys.exit(main())
