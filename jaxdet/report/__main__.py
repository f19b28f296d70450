"""Show what a trained detector gets right and where it goes wrong, in one HTML file.

    python -m jaxdet.report --workdir=DIR [--output=report.html]
    python -m jaxdet.report --workdir=runs/quickstart
    python -m jaxdet.report --compare DIR_A DIR_B [--output=comparison.html]

evaluates the newest checkpoint on the run's evaluation set (`config.data.eval`) and writes a page
that needs no network access: metrics with their protocol, learning curves, AP by class and by size,
precision-recall curves, precision and recall by score threshold, a confusion matrix, error types
and their cost (TIDE), calibration, and the images with the best and the worst detections. Without
--output, the page goes into the workdir.

With --compare, two detectors see the evaluation set of the first: the page shows the objects that
one finds and the other does not, as counts, by class, and in images.
"""

import argparse
import sys
from collections.abc import Sequence

from etils import epath

from jaxdet import cli
from jaxdet.report import compare, page, plots
from jaxdet.report.evidence import gather


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the report."""
    return cli.call("report", __doc__, _add_arguments, _report, argv)


def _report(args: argparse.Namespace) -> None:
    where = dict(dir=args.dir, root=args.root)
    if args.compare:
        workdirs = [epath.Path(each).expanduser() for each in args.compare]
        a = gather(workdirs[0], **where)
        text = compare.render(a, gather(workdirs[1], **where, dataset=a.dataset))
        output = args.output or epath.Path("comparison.html")
    else:
        folder = args.workdir.expanduser()
        evidence = gather(folder, **where)
        text, output = page.render(evidence), args.output or folder / "report.html"
        print(*plots.class_sentences(evidence), sep="\n")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(text.encode())
    print(f"{output}, {len(text.encode()) / 1e6:.1f} MB")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--workdir", type=epath.Path, help="folder of a trained detector")
    what.add_argument(
        "--compare", nargs=2, metavar=("A", "B"), help="folders of two, compared on A's images"
    )
    file = "HTML file, default report.html in the workdir, or comparison.html"
    parser.add_argument("--output", type=epath.Path, help=file)
    parser.add_argument("--dir", help="folder of prepared datasets, default config.data.dir")
    parser.add_argument("--root", help="folder of the original dataset, default config.data.root")


if __name__ == "__main__":
    sys.exit(main())
