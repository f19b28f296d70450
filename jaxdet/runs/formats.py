"""Tables as text."""

import csv
import io
from collections.abc import Sequence


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table whose columns also line up in a terminal."""
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in each] for each in rows]
    widths = [max(3, *map(len, column)) for column in zip(header, *cells, strict=True)]
    line = lambda each: "| " + " | ".join(map(str.ljust, each, widths)) + " |"
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([line(header), rule, *map(line, cells)])


def comma_separated(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The table as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue().rstrip("\n")


FORMATS = {"markdown": markdown, "csv": comma_separated}
