"""From a config to values: the border where names become functions and unknown keys are refused.

The file name is the name: `config.model.backbone.name = "vgg16"` is `jaxdet/backbones/vgg16.py`,
and the other keys of that block are the keyword arguments of the function or module in it.
"""

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import jax.numpy as jnp

from jaxdet import nms
from jaxdet.detectors.detector import Detector
from jaxdet.detectors.net import Net


def detector(config: Any, classes: tuple[str, ...]) -> Detector:
    """The detector that `config.model` and `config.evaluation` describe, for `classes`."""
    model, evaluation = config.model, config.evaluation
    dtype = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
    if model.dtype not in dtype:
        raise ValueError(f"config.model.dtype is {model.dtype!r}, expected one of {list(dtype)}")

    def net(num_anchors: tuple[int, ...]) -> Net:
        head = dict(num_classes=len(classes), num_anchors=num_anchors)
        return Net(
            backbone=_part("backbones", model.backbone, "model.backbone", {}),
            neck=_part("necks", model.neck, "model.neck", {}),
            head=_part("heads", model.head, "model.head", head),
            mean=tuple(model.mean),
            scale=tuple(model.scale),
            dtype=dtype[model.dtype],
        )

    select = partial(
        nms.multiclass,
        score_threshold=evaluation.score_threshold,
        iou_threshold=evaluation.iou_threshold,
        max_kept=evaluation.max_kept,
    )
    given = dict(net=net, size=model.size, classes=tuple(classes), select=select)
    return _part("detectors", model.detector, "model.detector", given)


# The blocks that are not the arguments of one function, "" for the config itself.
_KEYS = {
    "": "purpose seed init_from model data augment schedule optimiser step evaluation every",
    "model": "size mean scale dtype backbone neck head detector",
    "data": "train eval root dir canvas batch_size max_objects keep_difficult",
    "evaluation": "metric batch_size letterbox score_threshold iou_threshold max_kept",
    "every": "log picture checkpoint evaluation keep",
}


def check_keys(config: Any) -> None:
    """ValueError, with the nearest name, for a key that no part of the program reads.

    The other blocks are checked where they become arguments: see `arguments`.
    """
    for block, known in _KEYS.items():
        for key in config[block] if block else config:
            check_name(key, known.split(), f"config.{block}".rstrip("."))


def named(module: Any, block: Mapping[str, Any], where: str, given: Mapping[str, Any]) -> Any:
    """Calls the function of `module` that `block.name` names with the rest of the block."""
    options = arguments(module, block, where, given)
    return getattr(module, block["name"])(**given, **options)


def arguments(
    module: Any, block: Mapping[str, Any], where: str, given: Mapping[str, Any]
) -> dict[str, Any]:
    """The keywords that `block` has for the function of `module` that it names, checked.

    ValueError, with the nearest name, where names or types do not fit the function's signature;
    `given` are the arguments that do not come from the config.
    """
    functions = {n: f for n, f in vars(module).items() if callable(f) and n[0] != "_"}
    check_name(block["name"], functions, f"config.{where}.name")
    return _checked(functions[block["name"]], block, where, given)


def call(
    function: Callable[..., Any], block: Mapping[str, Any], where: str, given: Mapping[str, Any]
) -> Any:
    """`function(**given, **block)` where the block's keys and types fit its signature."""
    return function(**given, **_checked(function, block, where, given))


def _checked(function, block, where, given) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters
    options = {key: as_tuples(value) for key, value in dict(block).items() if key != "name"}
    open_names = [name for name in parameters if name not in given]
    for key, value in options.items():
        check_name(key, open_names, f"config.{where}")
        _check_type(value, parameters[key].annotation, f"config.{where}.{key}")
    for name in open_names:
        if parameters[name].default is inspect.Parameter.empty and name not in options:
            raise ValueError(f"config.{where} lacks {name!r}")
    return options


def check_name(name: str, known: Iterable[str], where: str) -> None:
    """ValueError with the nearest known name unless `name` is one of `known`."""
    known = sorted(known)
    if name not in known:
        near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
        raise ValueError(f"{where}: there is no {name!r}; {hint}")


def as_tuples(value: Any) -> Any:
    """Lists (what JSON makes of tuples) as tuples, at any depth; modules must be hashable."""
    if isinstance(value, list | tuple):
        return tuple(as_tuples(v) for v in value)
    return value


def _part(package: str, block: Mapping[str, Any], where: str, given: Mapping[str, Any]) -> Any:
    check_name(block["name"], files(package), f"config.{where}.name")
    module = importlib.import_module(f"jaxdet.{package}.{block['name']}")
    return call(getattr(module, block["name"]), block, where, given)


def files(package: str) -> list[str]:
    """The names that can stand in a config for `package`: files that define their own name."""
    folder = importlib.import_module(f"jaxdet.{package}")
    names = [m.name for m in pkgutil.iter_modules(folder.__path__)]
    return [n for n in names if hasattr(importlib.import_module(f"jaxdet.{package}.{n}"), n)]


def _check_type(value: Any, annotation: Any, where: str) -> None:
    plain = getattr(annotation, "__origin__", annotation)  # tuple[int, ...] -> tuple
    allowed = {int: (int,), float: (int, float), str: (str,), bool: (bool,), tuple: (tuple,)}
    if plain not in allowed:
        return
    if not isinstance(value, allowed[plain]) or (isinstance(value, bool) and plain is not bool):
        raise ValueError(f"{where} is {value!r}, expected {plain.__name__}")
