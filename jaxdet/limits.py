"""The legal range of every number in a recipe, in one table; all other numbers must be finite.

`check` is called for each value of a recipe, before anything is built from it.
"""

import dataclasses
import math
from typing import Any


@dataclasses.dataclass(frozen=True)
class Range:
    """An interval of numbers; `over` and `under` are limits that do not belong to it."""

    least: float | None = None
    most: float | None = None
    over: float | None = None
    under: float | None = None
    rising: bool = False  # a pair of such numbers is the lower and the upper one

    def __contains__(self, number: float) -> bool:
        return (
            math.isfinite(number)
            and (self.least is None or number >= self.least)
            and (self.most is None or number <= self.most)
            and (self.over is None or number > self.over)
            and (self.under is None or number < self.under)
        )

    def __str__(self) -> str:
        words = {"at least": self.least, "above": self.over, "at most": self.most}
        words["below"] = self.under
        given = [f"{word} {limit:g}" for word, limit in words.items() if limit is not None]
        return " and ".join(given) or "a finite number"


ANY = Range()
COUNT, NATURAL, POSITIVE = Range(least=1), Range(least=0), Range(over=0)
SHARE, BELOW_ONE, CHANNEL = Range(0, 1), Range(least=0, under=1), Range(0, 255)
DEGREES = Range(0, 180)

# By key; "block.key" comes before "key".
RANGES = {
    # model, data, step, evaluation, every
    **dict.fromkeys(("size", "batch_size", "max_objects", "accumulate"), COUNT),
    **dict.fromkeys(("sizes", "resize_every", "max_kept", "keep"), COUNT),
    **dict.fromkeys(("log", "picture", "checkpoint", "evaluation", "unfreeze_at"), NATURAL),
    **dict.fromkeys(("ema_ramp", "late_from"), NATURAL),
    **dict.fromkeys(("score_threshold", "iou_threshold"), SHARE),
    "model.size": Range(1, 8192),
    "data.canvas": Range(1, 16384),
    **dict.fromkeys(("patience", "evaluation.candidates"), NATURAL),
    "seed": Range(0, 2**32 - 1),
    "mean": CHANNEL,
    "model.scale": POSITIVE,
    "ema_decay": BELOW_ONE,
    # schedule, optimiser
    **dict.fromkeys(("steps", "factor", "peak", "boundaries"), POSITIVE),
    **dict.fromkeys(("epochs", "warmup", "flat", "weight_decay", "clip_norm"), NATURAL),
    **dict.fromkeys(("end", "warmup_start"), SHARE),
    "momentum": BELOW_ONE,
    # augment
    **dict.fromkeys(("expand_probability", "mirror_probability", "swap_probability"), SHARE),
    **dict.fromkeys(("probability", "crop_min_ious", "min_visible", "shift"), SHARE),
    "expand_max": COUNT,
    "until": NATURAL,
    "brightness": CHANNEL,
    **dict.fromkeys(("contrast", "saturation"), Range(least=0, rising=True)),
    "cut": Range(0, 1, rising=True),
    "scale": Range(over=0, rising=True),
    **dict.fromkeys(("hue", "rotation"), DEGREES),
    "shear": Range(least=0, under=90),
    "fill": CHANNEL,
    # detectors
    **dict.fromkeys(("match_iou", "ignore_iou", "ignore_score"), SHARE),
    **dict.fromkeys(("proposal_iou", "proposal_score"), SHARE),
    **dict.fromkeys(("candidates", "proposals", "anchors_drawn", "regions_drawn"), COUNT),
    **dict.fromkeys(("anchor_sizes", "anchor_ratios", "priors", "spare_priors"), POSITIVE),
    **dict.fromkeys(("scales", "ratios", "strides", "variances"), POSITIVE),
    **dict.fromkeys(("negative_ratio", "proposal_side", "box_weight"), NATURAL),
    **dict.fromkeys(("boxes_per_cell", "levels"), COUNT),
    "sensitivity": COUNT,
    # losses, NMS
    "label_smoothing": BELOW_ONE,
    "alpha": POSITIVE,
    "class_loss.alpha": SHARE,
    "beta": POSITIVE,
    "nms.beta": NATURAL,
    "gamma": NATURAL,
    "sigma": POSITIVE,
    # networks
    **dict.fromkeys(("base_width", "blocks", "channels", "hidden", "pieces", "samples"), COUNT),
    **dict.fromkeys(("convs", "fully_connected", "rows", "epsilon"), NATURAL),
    **dict.fromkeys(("depth", "width"), POSITIVE),
    **dict.fromkeys(("dropout", "drop_connect", "initial_probability"), BELOW_ONE),
    "longest": COUNT,
}


def range_of(key: str) -> Range:
    """The range of a key, "data.batch_size"; all finite numbers if it is not in the table."""
    *_, last = parts = key.split(".")
    return RANGES.get(".".join(parts[-2:]), RANGES.get(last, ANY))


def check(value: Any, key: str) -> None:
    """Raises ValueError, with the config's `key`, unless all numbers in `value` are in its range.

    `value` is a number, a tuple of them at any depth, or something else, which has no range.
    """
    legal = range_of(key)
    wrong = [number for number in _numbers(value) if number not in legal]
    if wrong:
        whole = "" if value is wrong[0] else f" in {value!r}"
        raise ValueError(f"config.{key} is {wrong[0]!r}{whole}, expected {legal}")
    if legal.rising and list(_numbers(value)) != sorted(_numbers(value)):
        raise ValueError(f"config.{key} is {value!r}, expected the lower number first")


def _numbers(value: Any) -> list[float]:
    if isinstance(value, list | tuple):
        return [number for each in value for number in _numbers(each)]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []
