"""Small pieces of a report's HTML: tables, rows of charts, percentages."""

import html
import string
from collections.abc import Sequence
from pathlib import Path

from jaxdet import visualize

TEMPLATE = Path(__file__).with_name("page.html")
NOTHING = "–"  # in a table, where a value is not defined


def page(title: str, kicker: str, sections: Sequence[tuple[str, str]]) -> str:
    """A whole page: a title with a line above it, and sections, each a heading and its HTML."""
    names = [heading.lower().replace(" ", "-") for heading, _ in sections]
    contents = "".join(
        f'<a href="#{name}">{html.escape(heading)}</a>'
        for name, (heading, _) in zip(names, sections, strict=True)
    )
    body = "\n".join(
        f'<section id="{name}"><h2>{html.escape(heading)}</h2>\n{text}\n</section>'
        for name, (heading, text) in zip(names, sections, strict=True)
    )
    return string.Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=html.escape(title), kicker=html.escape(kicker), contents=contents, body=body
    )


def percent(value: float | None) -> str:
    """A share in percent with one decimal; metrics mark what is not defined with None or -1."""
    return NOTHING if value is None or value < -0.5 else f"{100 * value:.1f}"


def interval(low: str, high: str) -> str:
    """Two ends of an interval, on one line."""
    return f"[{low}\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}{high}]"


def paragraph(text: str, css: str = "") -> str:
    """A paragraph of plain text."""
    return f"<p{css and f' class={css}'}>{html.escape(text)}</p>"


def row(parts: Sequence[str], css: str = "charts") -> str:
    """Parts beside one another, as many as there is room for."""
    return f'<div class="{css}">{"".join(parts)}</div>'


def tiles(values: Sequence[tuple[str, str, str]]) -> str:
    """Large numbers, each with its name and an explanation of a few words."""
    each = (
        f"<div><b>{value}</b><strong>{html.escape(name)}</strong>"
        f"<span>{html.escape(what)}</span></div>"
        for name, value, what in values
    )
    return row(list(each), "tiles")


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    css: str = "plain",
    safe: Sequence[int] = (),
) -> str:
    """A table; the columns in `safe` are HTML already, the others are escaped.

    With the class "sortable", a click on a header sorts by that column.
    """
    is_number = [
        all(c[-1:] in f"{NOTHING}0123456789" for c in cells) for cells in zip(*rows, strict=True)
    ]
    side = ["number" if is_ else "text" for is_ in is_number] or ["text"] * len(header)
    label = lambda text: f"<button>{html.escape(text)}</button>"
    label = label if css == "sortable" else html.escape
    head = "".join(f'<th class="{s}">{label(h)}</th>' for s, h in zip(side, header, strict=True))
    lines = (
        "".join(
            f'<td class="{side[i]}">{c if i in safe else html.escape(c)}</td>'
            for i, c in enumerate(each)
        )
        for each in rows
    )
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    whole = f'<table class="{css}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="wide">{whole}</div>'


def dotted(name: str, label: int) -> str:
    """The name of a class behind a dot of its colour."""
    colour = visualize.css(visualize.class_colour(label))
    return f'<i class="dot" style="--c:{colour}"></i>{html.escape(name)}'


def bar(value: float | None, top: float = 1.0) -> str:
    """A percentage with a bar that is full at `top`."""
    share = 0.0 if value is None else min(max(value / top, 0.0), 1.0)
    return f'<span class="bar" style="--share:{share:.3f}"></span>{percent(value)}'
