"""Show what a trained detector gets right and where it goes wrong, in one HTML file.

    python -m jaxdet.report --workdir=DIR [--output=report.html]
    python -m jaxdet.report --workdir=runs/quickstart

evaluates the newest checkpoint on the run's evaluation set (`config.data.eval`) and writes a page
that needs no network access: metrics with their protocol, learning curves, AP by class and by size,
precision-recall curves, a confusion matrix, error types and their cost (TIDE), calibration, and the
images with the best and the worst detections. Without --output, the page goes into the workdir.
"""

import argparse
import sys
from collections.abc import Sequence

from etils import epath

from jaxdet import cli
from jaxdet.report import page
from jaxdet.report.evidence import gather


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the report."""
    return cli.call("report", __doc__, _add_arguments, _report, argv)


def _report(args: argparse.Namespace) -> None:
    output = args.output or args.workdir / "report.html"
    text = page.render(gather(args.workdir, dir=args.dir, root=args.root))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(text.encode())
    print(f"{output}, {len(text.encode()) / 1e6:.1f} MB")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    folder, file = "folder of a trained detector", "HTML file, default report.html in the workdir"
    parser.add_argument("--workdir", type=epath.Path, required=True, help=folder)
    parser.add_argument("--output", type=epath.Path, help=file)
    parser.add_argument("--dir", help="folder of prepared datasets, default config.data.dir")
    parser.add_argument("--root", help="folder of the original dataset, default config.data.root")


if __name__ == "__main__":
    sys.exit(main())
