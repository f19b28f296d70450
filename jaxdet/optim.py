"""Optimisers by name (`config.optimiser.name` is a function of this file), and freezing."""

import fnmatch
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import flax.traverse_util
import optax


def sgd(
    rate: optax.Schedule, *, momentum: float = 0.9, weight_decay: float = 0.0, clip_norm: float = 0
) -> optax.GradientTransformation:
    """SGD with momentum and L2 decay inside the gradient, on every parameter (as PyTorch's SGD).

    `clip_norm` > 0 clips the global norm of the gradient first.
    """
    return optax.chain(
        optax.clip_by_global_norm(clip_norm) if clip_norm else optax.identity(),
        optax.add_decayed_weights(weight_decay),
        optax.trace(momentum),
        optax.scale_by_learning_rate(rate),
    )


def adamw(
    rate: optax.Schedule, *, weight_decay: float = 1e-4, clip_norm: float = 0
) -> optax.GradientTransformation:
    """AdamW (Loshchilov and Hutter 2019)."""
    return optax.chain(
        optax.clip_by_global_norm(clip_norm) if clip_norm else optax.identity(),
        optax.adamw(rate, weight_decay=weight_decay),
    )


def is_frozen(path: str, patterns: Sequence[str]) -> bool:
    """Whether a path such as `backbone/conv1_1/kernel` matches a pattern or lies below one."""
    return any(
        fnmatch.fnmatchcase(path, p) or fnmatch.fnmatchcase(path, f"{p}/*") for p in patterns
    )


def frozen_mask(params: Any, patterns: Sequence[str]) -> Any:
    """The tree of `params` with True at frozen leaves; ValueError for a pattern without a match."""
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

    So frozen BatchNorms use their running statistics and leave them be; `optax.set_to_zero` alone
    would freeze the weights while the statistics still move. Modules take `train` by keyword.
    """

    def intercept(call, args, kwargs, context):
        if "train" in kwargs and is_frozen("/".join(context.module.path), patterns):
            kwargs = {**kwargs, "train": False}
        return call(*args, **kwargs)

    return nn.intercept_methods(intercept)
