"""Line charts and scatter plots with numbered axes, as SVG to embed in an HTML page."""

import dataclasses
import html
import math
from collections.abc import Mapping, Sequence

import numpy as np

from jaxdet import visualize

_SERIES = 8  # colours --s0 to --s7 of the page
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 24, 10, 40  # margins in pixels
_SIZE = (480, 260)
_MAX_POINTS = 300  # per line; more would not be visible


@dataclasses.dataclass(frozen=True)
class Axis:
    """An axis from `low` to `high`, logarithmic if `log` is set."""

    label: str
    low: float
    high: float
    log: bool = False

    def place(self, value: float) -> float:
        """The position of a value on the axis: 0 at `low`, 1 at `high`."""
        scale = math.log10 if self.log else float
        return (scale(value) - scale(self.low)) / (scale(self.high) - scale(self.low))

    def ticks(self) -> list[float]:
        """Round values to print along the axis."""
        return _decades(self.low, self.high) if self.log else _round_values(self.low, self.high)


def axis(label: str, values: Sequence[float], *, log: bool = False) -> Axis:
    """An axis that covers `values` with a margin; if it is logarithmic they must be positive."""
    low, high = (float(np.min(values)), float(np.max(values))) if len(values) else (1.0, 2.0)
    if log:
        return Axis(label, low / 1.3, high * 1.3, log=True)
    room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return Axis(label, low - room, high + room)


def lines(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    x: Axis,
    y: Axis,
    title: str = "",
    size: tuple[int, int] = _SIZE,
    diagonal: bool = False,
    mark: float | None = None,
    colours: Sequence[str] = (),
    legend: bool = True,
) -> str:
    """A line chart, one line (x, y) per name, with a legend if there are several.

    `mark` is an x with a vertical line. `colours` of the lines replace those of the page. Without
    a `legend` names are tooltips alone.
    """
    frame = _Frame(x, y, size)
    parts = [frame.line("diagonal", [x.low, x.high], [y.low, y.high])] if diagonal else []
    if mark is not None:
        parts.append(frame.line("diagonal", [mark, mark], [y.low, y.high]))
    colours = colours or [f"var(--s{index % _SERIES})" for index in range(len(series))]
    for colour, (name, (xs, ys)) in zip(colours, series.items(), strict=True):
        parts.append(frame.line("curve", *_thin(xs, ys), colour=colour, name=name))
        if len(xs) == 1:
            parts.append(frame.dot(xs[0], ys[0], name, colour=colour))
    named = dict(zip(series, colours, strict=True)) if legend and len(series) > 1 else {}
    return frame.figure(parts, title, named)


def scatter(
    points: Sequence[tuple[str, float, float, str]],
    *,
    x: Axis,
    y: Axis,
    title: str = "",
    size: tuple[int, int] = _SIZE,
) -> str:
    """A scatter plot of (name, x, y, colour).

    Names are tooltips, and for up to 25 points also labels, which do not cover one another.
    """
    frame = _Frame(x, y, size)
    parts = [frame.dot(at_x, at_y, name, colour=colour) for name, at_x, at_y, colour in points]
    if len(points) <= 25:
        parts += frame.names([point[:3] for point in points])
    return frame.figure(parts, title, {})


class _Frame:
    """The plot area of a chart, between its axes, in SVG pixels."""

    def __init__(self, x: Axis, y: Axis, size: tuple[int, int]):
        self._x, self._y, self._size = x, y, size
        self._width, self._height = size[0] - _LEFT - _RIGHT, size[1] - _TOP - _BOTTOM

    def figure(self, parts: Sequence[str], title: str, legend: Mapping[str, str]) -> str:
        """The chart below its title and the names of its lines, each with its colour."""
        (width, height), name = self._size, html.escape(title)
        names = "".join(
            f'<span style="--c:{colour}">{html.escape(text)}</span>'
            for text, colour in legend.items()
        )
        return "\n".join(
            [
                f'<figure class="chart"><figcaption><b>{name}</b>{names}</figcaption>'
                f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{name}">',
                *self._grid(),
                *parts,
                "</svg></figure>",
            ]
        )

    def line(self, kind, xs, ys, *, colour: str = "var(--faint)", name: str = "") -> str:
        points = " ".join(self._at(*point) for point in zip(xs, ys, strict=True))
        return (
            f'<polyline class="{kind}" stroke="{colour}" points="{points}">'
            f"<title>{html.escape(name)}</title></polyline>"
        )

    def dot(self, x: float, y: float, name: str, *, colour: str) -> str:
        left, top = self._at(x, y).split(",")
        hint = html.escape(f"{name}: {x:.4g}, {y:.4g}")
        return (
            f'<circle cx="{left}" cy="{top}" r="3.5" fill="{colour}"><title>{hint}</title></circle>'
        )

    def names(self, points: Sequence[tuple[str, float, float]]) -> list[str]:
        """The names of points, beside them and clear of one another."""
        at = np.array([self._at(x, y).split(",") for _, x, y in points], float).reshape(-1, 2)
        texts = [name for name, _, _ in points]
        around = np.concatenate([at - 4, at + 4], axis=1)
        places = visualize.place_labels(
            around,
            texts,
            self._size,
            text_height=11,
            avoid=np.concatenate([at - 3, at + 3], axis=1),
        )
        shown = ~np.isnan(places).any(axis=1)
        return [
            _text("name", (x1 + x2) / 2, y2 - 3, text, "middle")
            for text, (x1, _, x2, y2), is_shown in zip(texts, places, shown, strict=True)
            if is_shown
        ]

    def _grid(self) -> list[str]:
        bottom, right = _TOP + self._height, _LEFT + self._width
        parts = []
        for value in self._x.ticks():
            left = _LEFT + self._width * self._x.place(value)
            parts.append(f'<path class="grid" d="M{left:.1f} {_TOP}V{bottom}"/>')
            parts.append(_text("tick", left, bottom + 14, f"{value:,g}", "middle"))
        for value in self._y.ticks():
            top = bottom - self._height * self._y.place(value)
            parts.append(f'<path class="grid" d="M{_LEFT} {top:.1f}H{right}"/>')
            parts.append(_text("tick", _LEFT - 6, top + 3.5, f"{value:,g}", "end"))
        middle = _TOP + self._height / 2
        parts.append(_text("label", _LEFT + self._width / 2, bottom + 32, self._x.label, "middle"))
        rotation = f' transform="rotate(-90 12 {middle:.0f})"'
        parts.append(_text("label", 12, middle, self._y.label, "middle", rotation))
        return parts

    def _at(self, x: float, y: float) -> str:
        left = _LEFT + self._width * self._x.place(x)
        top = _TOP + self._height * (1 - self._y.place(y))
        return f"{left:.1f},{top:.1f}"


def _text(kind: str, x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>'
        f"{html.escape(text)}</text>"
    )


def _thin(xs: Sequence[float], ys: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """At most `_MAX_POINTS` evenly spaced points, the first and the last among them."""
    chosen = np.unique(np.linspace(0, len(xs) - 1, min(len(xs), _MAX_POINTS)).round().astype(int))
    return np.asarray(xs)[chosen], np.asarray(ys)[chosen]


def _round_values(low: float, high: float) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten, four to nine of them."""
    power = 10.0 ** math.floor(math.log10((high - low) / 4))
    step = next(power * m for m in (5, 2, 1) if (high - low) / (power * m) >= 4)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def _decades(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten: only the powers in a wide range, more in a narrow one."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = [(m * 10.0**power, m) for power in range(first, last + 1) for m in (1, 2, 5)]
    inside = [(value, m) for value, m in every if low <= value <= high]
    if len(inside) < 3:
        return _round_values(low, high)
    return [value for value, m in inside if len(inside) <= 7 or m == 1]
