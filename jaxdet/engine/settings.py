"""What a user may ask of a trained detector, beside the image: `detector(image, score=0.5)`."""

import math
from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np


class Settings(TypedDict, total=False):
    """Which detections to return; without a setting, what the recipe's `evaluation` says."""

    score: float | None  # only detections above this score
    iou: float | None  # above this overlap, a box falls in NMS
    classes: Sequence[str] | None  # only these; the others take part in NMS
    agnostic: bool | None  # boxes of different classes suppress each other, too
    max: int | None  # the best so many of an image
    tile: int | None  # side in pixels: also detect in tiles of the image
    overlap: float | None  # share of a tile's side that neighbours have in common, 0.2
    batch_size: int | None  # images at a time, 8


def check(settings: Settings) -> None:
    """TypeError for an unknown name; ValueError, with the range, for a value that cannot be."""
    if unknown := settings.keys() - Settings.__annotations__.keys():
        known = ", ".join(Settings.__annotations__)
        raise TypeError(f"no setting {min(unknown)!r}, expected some of {known}")
    given = {key: value for key, value in settings.items() if value is not None}
    for key, high in ("score", 1), ("iou", 1), ("overlap", 0.9):
        _check_number(key, given.get(key, 0.0), (int, float, np.integer, np.floating), 0, high)
    for key, low in ("batch_size", 1), ("max", 1), ("tile", 32):
        _check_number(key, given.get(key, low), (int, np.integer), low, math.inf)
    if "overlap" in given and "tile" not in given:
        raise ValueError(f"overlap is {given['overlap']}, but there is no tile, its side in pixels")
    if isinstance(given.get("classes"), str):
        raise ValueError(f"classes is {given['classes']!r}, expected a list of names")


def _check_number(name: str, value: Any, kinds: tuple[type, ...], low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        kind = "a number" if float in kinds else "a whole number"
        span = f"at least {low}" if high == math.inf else f"from {low} to {high}"
        raise ValueError(f"{name} is {value!r}, expected {kind}, {span}")
