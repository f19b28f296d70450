"""List the training runs under a folder in one table.

    python -m jaxdet.runs runs                      # markdown
    python -m jaxdet.runs runs --format=csv
    python -m jaxdet.runs runs --compare 2 5        # or two names
    python -m jaxdet.runs runs/study/shapes --study --format=html

A run is a workdir: a folder with `config.json`. Runs are numbered by the date they began. The
purpose is `config.purpose`, the notes are the first line of `notes.txt` or `notes.md` in the
workdir. The time is that of the training steps, without evaluation. "best, %" is the best value of
the first number that the metric reports; `rank` compares it with the runs of the same evaluation
set and metric, which stand together, since numbers of different sets say nothing about each other.
A comparison shows where the configs differ, and the curves of both runs on one scale.

The folder of a sweep has a second table, with --study: what each change brings, with an interval
and a verdict. As html it is a page, study.html in the folder, with charts.
"""

import argparse
import sys
from collections.abc import Sequence

from etils import epath

from jaxdet import cli
from jaxdet.runs import listing, study, study_page
from jaxdet.runs.formats import FORMATS


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table."""
    return cli.call("runs", __doc__, _add_arguments, _runs, argv)


def _runs(args: argparse.Namespace) -> None:
    if not args.study:
        if args.format == "html" or args.measure:
            raise ValueError("--format=html and --measure are for a study: add --study")
        print(FORMATS[args.format](*listing.table(args.folder, args.compare)))
        return
    results = study.gather(args.folder, measure=args.measure)
    if args.format == "html":
        output = args.folder / "study.html"
        output.write_text(study_page.render(results))
        print(output)
        return
    print(FORMATS[args.format](*study.cells(results)))
    if args.format == "markdown":
        print("", *study.caption(results), sep="\n")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=epath.Path, help="folder that holds the workdirs")
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--compare", nargs=2, metavar=("A", "B"), help="compare these two, ids or names"
    )
    what.add_argument("--study", action="store_true", help="the table of a study")
    measured = "measure what the study's detectors cost and take, and keep it"
    parser.add_argument("--measure", action="store_true", help=measured)
    parser.add_argument("--format", choices=[*FORMATS, "html"], default="markdown")


if __name__ == "__main__":
    sys.exit(main())
