"""Write a trained detector to a file that runs without jaxdet.

    python -m jaxdet.export --workdir=runs/quickstart --format=onnx --output=quickstart.onnx
    python -m jaxdet.export --workdir=runs/quickstart --format=stablehlo \
        --output=quickstart.jaxdet --check=photos

The file takes `images` [B, H, W, 3], RGB in 0..255, normalises them itself, and returns
`num_detections`, `detection_boxes` (x1 y1 x2 y2 in pixels of the input), `detection_scores` and
`detection_classes`; with --nms=none `boxes` and `scores` before NMS, with --nms=greedy those of
class-wise NMS whatever the recipe's rule is. It knows its class names, its
input, and how detections are chosen. --check runs the file and the live detector on the images of a
folder, prints the largest differences, and ends with exit status 1 if they find different things.
"""

import argparse
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jaxdet
from jaxdet import cli
from jaxdet.exports import check
from jaxdet.exports.predictor import Exported
from jaxdet.exports.write import FORMATS, NMS, export


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns 1 if --check finds a difference."""
    return cli.call("export", __doc__, _add_arguments, _export, argv)


def _export(args: argparse.Namespace) -> int:
    detector = jaxdet.load(args.workdir)
    keys = ("batch", "nms", "size", "dtype", "int8")
    options = {key: getattr(args, key) for key in keys}
    export(detector, args.output, format=args.format, **options)
    print(f"{args.format:9}  {args.output} ({args.output.stat().st_size / 2**20:.1f} MiB)")
    if args.check is None:
        return 0
    exported, worst = Exported(args.output), 0
    for batch_size in [args.batch] if args.batch else [1, 8]:
        found = check.compare(detector, exported, args.check, batch_size=batch_size)
        print(f"batch {batch_size}: {found}")
        worst |= not found.equal
    return worst


def _batch(text: str) -> int | None:
    return None if text == "any" else cli.positive(text)


def _size(text: str) -> int | tuple[int, int]:
    sides = [cli.positive(side) for side in text.split("x")]
    if len(sides) > 2:
        raise argparse.ArgumentTypeError(f"{text!r} has {len(sides)} sides, expected S or HxW")
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--workdir", required=True, help="folder of a trained detector")
    add("--format", required=True, choices=FORMATS, help="what to write")
    add("--output", required=True, type=Path, help="the file")
    add("--batch", type=_batch, default=None, help="number of images, or any (default)")
    add("--nms", choices=NMS, help="default inside, for tflite none")
    add("--size", type=_size, help="of the input, S or HxW, default the recipe's")
    kinds = "default uint8, for stablehlo float32"
    add("--dtype", choices=("uint8", "float32"), help=f"of the images, {kinds}")
    add("--int8", type=Path, metavar="FOLDER", help="tflite in 8 bits, by a folder's images")
    add("--check", type=Path, metavar="FOLDER", help="compare with the live detector")


class _Callable(types.ModuleType):
    """Keeps `jaxdet.export(...)` a call after `import jaxdet.export`, which hides the function."""

    def __call__(self, *args: Any, **options: Any) -> Path:
        return export(*args, **options)


sys.modules[__name__].__class__ = _Callable

if __name__ == "__main__":
    sys.exit(main())
