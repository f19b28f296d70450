"""One look at all boxes of a set: numbers in another unit or order than the format's.

Where most boxes do not fit their images, and nearly all would if their numbers meant something
else, they do mean something else.
"""

from collections.abc import Callable, Sequence

import numpy as np

from jaxdet.data.check import RESIZED, TURNED, Checked, Example

_MOST, _NEARLY_ALL = 0.5, 0.95  # share of boxes
_PERCENT = 100
_LARGE = 250  # pixels: in larger images, boxes that all end before the 100th are remarkable
_FORMS = {
    "voc": "`xmin ymin xmax ymax` in pixels",
    "coco": "`x y width height` in pixels",
    "yolo": "`cx cy width height` in fractions of the image",
}


def look(examples: Sequence[Example], checked: Sequence[Checked], format: str) -> str | None:
    """Return a sentence about boxes that may be in another unit, None if they seem right.

    `examples` are those that were checked, with their boxes as read.

    Raises:
        ValueError: the boxes are in another unit or order; the message says in which.
    """
    numbers, sizes, areas, first = _columns(examples, checked, format)
    if not len(numbers):
        return None
    shown = " ".join(f"{value:g}" for value in numbers[0].round(4))
    expected = f"Expected {_FORMS[format]}; first: {shown} in {first}"
    corners = _READINGS[format][""](numbers, sizes)
    if format == "coco" and _areas_say_corners(numbers, areas):
        raise ValueError(
            f"the boxes look like `x1 y1 x2 y2`: their `area` is (x2 - x1) (y2 - y1). {expected}"
        )
    fractions = (numbers <= 1).all(1) if format != "yolo" else np.zeros(len(numbers), bool)
    misfits = int((fractions | ~_fit(corners, sizes)).sum())
    if misfits > _MOST * len(numbers):
        for name, reading in _READINGS[format].items():
            if name and _fit(reading(numbers, sizes), sizes).mean() >= _NEARLY_ALL:
                raise ValueError(
                    f"{misfits:,} of {len(numbers):,} boxes do not fit their images, or are below "
                    f"a pixel; they look like {name}. {expected}"
                )
        return f"{misfits:,} of {len(numbers):,} boxes do not fit their images. {expected}"
    if format == "coco" and misfits and _fit(numbers, sizes).all():
        return f"{misfits:,} boxes do not fit, and all would as `x1 y1 x2 y2`. {expected}"
    if fractions.any():
        return f"{fractions.sum():,} boxes are smaller than a pixel: in fractions? {expected}"
    if format != "yolo" and corners.max() <= _PERCENT and sizes.min() > _LARGE:
        return f"no box reaches beyond the 100th pixel: are they in percent? {expected}"
    return None


def _columns(
    examples: Sequence[Example], checked: Sequence[Checked], format: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """Return the numbers [n, 4] as the format has them, sizes [n, 4], areas [n], the first file."""
    boxes, sizes, areas, files = [np.zeros((0, 4))], [np.zeros((0, 4))], [np.zeros(0)], []
    for example, each in zip(examples, checked, strict=True):
        if each.annotation is not None and len(example.boxes):
            height, width = each.annotation.height, each.annotation.width
            if {RESIZED, TURNED} & set(each.problems):
                height, width = example.size
            boxes.append(example.boxes)
            sizes.append(np.tile([width, height, width, height], (len(example.boxes), 1)))
            areas.append(example.area)
            files.append(example.file)
    corners = np.concatenate(boxes)
    finite = np.isfinite(corners).all(1)
    corners = corners[finite]
    x1y1, x2y2 = corners[:, :2], corners[:, 2:]
    numbers = {
        "voc": np.concatenate([x1y1 + 1, x2y2], 1),
        "coco": np.concatenate([x1y1, x2y2 - x1y1], 1),
        "yolo": np.concatenate([(x1y1 + x2y2) / 2, x2y2 - x1y1], 1),
    }[format]
    first = files[0] if files else ""
    return numbers, np.concatenate(sizes)[finite], np.concatenate(areas)[finite], first


def _fit(corners: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return which boxes [n] are larger than a pixel and, but for 2 pixels, inside their images."""
    inside = (corners >= -2) & (corners <= sizes + 2)
    return inside.all(1) & (corners[:, 2:] - corners[:, :2] > 1).all(1)


def _areas_say_corners(numbers: np.ndarray, areas: np.ndarray) -> bool:
    """Return whether the area of nearly all boxes is that of `x1 y1 x2 y2`, not of `x y w h`."""
    x1, y1, x2, y2 = numbers.T
    by_corners, by_sides = (x2 - x1) * (y2 - y1), x2 * y2
    says = (x2 > x1) & (y2 > y1) & np.isclose(areas, by_corners, rtol=0.01)
    return bool((says & ~np.isclose(areas, by_sides, rtol=0.02)).mean() >= _NEARLY_ALL)


def _sides(numbers: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    return np.concatenate([numbers[:, :2], numbers[:, :2] + numbers[:, 2:]], 1)


def _centred(numbers: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    half = numbers[:, 2:] / 2
    return np.concatenate([numbers[:, :2] - half, numbers[:, :2] + half], 1)


def _corners(numbers: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    return numbers


def _of(reading: Callable, scale: float = 1.0) -> Callable:
    """Read numbers as shares of the image: of 1, or of 100 with a scale of 0.01."""
    return lambda numbers, sizes: reading(numbers, sizes) * sizes * scale


def _swapped(reading: Callable) -> Callable:
    return lambda numbers, sizes: reading(numbers[:, [1, 0, 3, 2]], sizes)


# How the numbers of each format may be read, "" being its own reading.
_READINGS = {
    "voc": {
        "": lambda numbers, sizes: numbers - [1, 1, 0, 0],
        "fractions": _of(_corners),
        "`x y width height`": _sides,
        "`ymin xmin ymax xmax`": _swapped(_corners),
        "`cx cy width height`": _centred,
        "`x y width height` in fractions": _of(_sides),
        "`cx cy width height` in fractions": _of(_centred),
    },
    "coco": {
        "": _sides,
        "fractions": _of(_sides),
        "`x1 y1 x2 y2`": _corners,
        "`x1 y1 x2 y2` in fractions": _of(_corners),
        "`cx cy width height`": _centred,
        "`y x height width`": _swapped(_sides),
        "`y1 x1 y2 x2`": _swapped(_corners),
    },
    "yolo": {
        "": _of(_centred),
        "`x1 y1 x2 y2` in fractions": _of(_corners),
        "`x y width height` in fractions, x y the corner": _of(_sides),
        "pixels": _centred,
        "`x1 y1 x2 y2` in pixels": _corners,
        "`x y width height` in pixels, x y the corner": _sides,
        "percent": _of(_centred, 0.01),
        "`cy cx height width`": _swapped(_of(_centred)),
    },
}
