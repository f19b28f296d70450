"""Values of annotations, which may be given as text: numbers, ids, sizes."""

from typing import Any

from jaxdet.data.check import NO_SIZE, Notes

Id = int | str


def size_of(height: Any, width: Any) -> tuple[tuple[int, int] | None, Notes]:
    """Return the height and width that an annotation states, or None and a note if unusable."""
    sides = [number_of(height), number_of(width)]
    if any(side is None or side < 1 or not side.is_integer() for side in sides):
        return None, ((NO_SIZE, f"{width} x {height}"),)
    return (int(sides[0]), int(sides[1])), ()


def id_of(value: Any) -> Id | None:
    """Return an id, `"7"` and 7.0 as 7; None if it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        text = value.strip()
        return int(text) if text.isdecimal() and str(int(text)) == text else text or None
    return value if isinstance(value, int) else None


def number_of(value: Any) -> float | None:
    """Return a number, also one given as text; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None
