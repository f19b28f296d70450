"""Freezing: training leaves the parameters that match some path patterns unchanged."""

import fnmatch
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import flax.traverse_util


def is_frozen(path: str, patterns: Sequence[str]) -> bool:
    """Whether a path such as `backbone/conv1_1/kernel` matches a pattern or lies below one."""
    return any(
        fnmatch.fnmatchcase(path, p) or fnmatch.fnmatchcase(path, f"{p}/*") for p in patterns
    )


def frozen_mask(params: Any, patterns: Sequence[str]) -> Any:
    """A tree like `params`, True at frozen leaves; ValueError for a pattern without a match."""
    paths = flax.traverse_util.flatten_dict(params, sep="/")
    for pattern in patterns:
        if not any(is_frozen(path, (pattern,)) for path in paths):
            parts = sorted({"/".join(path.split("/")[:2]) for path in paths})
            raise ValueError(
                f"step.frozen: no parameter matches {pattern!r}; there are {', '.join(parts)}"
            )
    mask = {path: is_frozen(path, patterns) for path in paths}
    return flax.traverse_util.unflatten_dict(mask, sep="/")


def freeze_statistics(patterns: Sequence[str]):
    """A context in which the modules under `patterns` run with `train=False`.

    Frozen BatchNorms then use their running statistics and do not update them; with
    `optax.set_to_zero` alone the weights would be frozen, but the statistics would still change.
    Modules must take `train` by keyword.
    """

    def intercept(call, args, kwargs, context):
        if "train" in kwargs and is_frozen("/".join(context.module.path), patterns):
            kwargs = {**kwargs, "train": False}
        return call(*args, **kwargs)

    return nn.intercept_methods(intercept)
