"""What a trained detector does, and where it goes wrong, as one html file.

    python -m jaxdet.report --workdir=DIR [--output=report.html]

evaluates the newest checkpoint on the set that the run evaluated on (`config.data.eval`), and
writes a page that needs no network: numbers with their protocol, learning curves, AP by class and
by size, precision-recall curves, confusion, error kinds and their cost (TIDE), calibration, and
pictures of the best and the worst. Without --output it goes into the workdir.
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
    folder, file = "folder of a trained detector", "html file to write, default in the workdir"
    parser.add_argument("--workdir", type=epath.Path, required=True, help=folder)
    parser.add_argument("--output", type=epath.Path, help=file)
    parser.add_argument("--dir", help="folder of prepared datasets, default config.data.dir")
    parser.add_argument("--root", help="folder of the set as published, default config.data.root")


if __name__ == "__main__":
    sys.exit(main())
