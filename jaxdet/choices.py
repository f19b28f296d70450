"""Resolves the names in a recipe to functions and modules, and rejects unknown ones.

The key decides where a name is looked up: among the files of a folder, as
`backbone=dict(name="vgg16")` is `jaxdet/backbones/vgg16.py`, or among the functions of a module, as
`activation="hard_swish"`. There is nothing to register: whatever is defined there can be named.
"""

import difflib
import functools
import importlib
import inspect
import pkgutil
import typing
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType, NoneType, UnionType
from typing import Any

from jaxdet import limits
from jaxdet.training import old_recipes

# A value is a name, or dict(name=..., ...) with options; "none" leaves out what is optional.
CHOICES = {
    "activation": "jaxdet.layers.activations",
    "attention": "jaxdet.layers.attention",
    "backbone": "jaxdet.backbones",
    "box_loss": "jaxdet.losses.box",
    "class_loss": "jaxdet.losses.classes",
    "colour": "jaxdet.augment.colour",
    "detector": "jaxdet.detectors",
    "fit": "jaxdet.augment.fit",
    "head": "jaxdet.heads",
    "metric": "jaxdet.metrics",
    "mix": "jaxdet.augment.mix",
    "neck": "jaxdet.necks",
    "nms": "jaxdet.boxes.nms",
    "norm": "jaxdet.layers.norms",
    "optimiser": "jaxdet.training.optimisers",
    "pool": "jaxdet.layers.roi",
    "schedule": "jaxdet.training.schedules",
    "window": "jaxdet.augment.crops",
}


def names(key: str) -> list[str]:
    """The names that a recipe can use for a key of `CHOICES`."""
    return sorted(_candidates(CHOICES[key]))


def choose(
    key: str,
    value: Any,
    where: str,
    *,
    given: Iterable[str] = (),
    also: Iterable[str] = (),
    optional: bool = False,
) -> Any:
    """Looks up what `value` names for a `key` of `CHOICES`, and binds its options.

    `value` is a name, or a mapping with `name` and options. `where` is its path in the config, for
    messages; `given` are the arguments that the caller binds, `also` the other keys of the block,
    which it reads. If it is `optional`, "none" gives None. ValueError, suggesting the closest name,
    if a name is unknown or a type is wrong.
    """
    block = dict(value) if hasattr(value, "keys") else {"name": value}
    if "name" not in block:
        raise ValueError(f"config.{where} lacks 'name'; expected one of {', '.join(names(key))}")
    known, name = _candidates(CHOICES[key]), block["name"]
    if optional and block in ({"name": "none"}, {"name": None}):
        return None
    if name == "none" or not isinstance(name, str):
        raise ValueError(f"config.{where} is {name!r}, expected one of {', '.join(names(key))}")
    now = old_recipes.part_successor(name)
    if name not in known and now:
        raise ValueError(f"config.{where}.name: {name!r} is now {now}")
    check_name(name, known, f"config.{where}.name")
    if isinstance(known[name], ModuleType):
        return known[name]
    options = arguments(known[name], block, where, given=given, also=also)
    return _bound(known[name], **options) if options else known[name]


@functools.lru_cache(maxsize=1024)
def _bound(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """A partial; the same object for the same options, so that modules with it compare equal."""
    return functools.partial(function, **options)


@functools.cache
def _candidates(place: str) -> dict[str, Any]:
    """The choices in a module or folder, by name: only what is defined there, not imported.

    In a module these are the callables with lower-case names. In a folder they are what each file
    defines under its own name, or, for metrics, the files that define `MAIN`.
    """
    module = importlib.import_module(place)
    if not hasattr(module, "__path__"):
        return {
            name: value
            for name, value in vars(module).items()
            if name == name.lower() and name[0] != "_" and _home(value) == place
        }
    files = {
        info.name: importlib.import_module(f"{place}.{info.name}")
        for info in pkgutil.iter_modules(module.__path__)
    }
    metrics = {name: file for name, file in files.items() if hasattr(file, "MAIN")}
    return metrics or {n: getattr(file, n) for n, file in files.items() if hasattr(file, n)}


def _home(value: Any) -> str | None:
    """The module that defines a function, a class, or the function of a partial."""
    return getattr(getattr(value, "func", value), "__module__", None) if callable(value) else None


def arguments(
    function: Callable[..., Any],
    block: Mapping[str, Any],
    where: str,
    *,
    given: Iterable[str] = (),
    also: Iterable[str] = (),
) -> dict[str, Any]:
    """The keyword arguments in `block` for a function or class, with their names resolved.

    A recipe can set every argument that is not `given`, except the inputs of a function: its
    positional arguments without a default. Keys that are `also` allowed are skipped. ValueError,
    suggesting the closest name, if a name is unknown, a type is wrong or an argument is missing.
    """
    parameters = inspect.signature(function).parameters
    is_class = isinstance(getattr(function, "func", function), type)
    hidden = {*given, "name", "parent"} | (set() if is_class else _inputs(parameters))
    open_names = [name for name in parameters if name not in hidden]
    result = {}
    for key, value in dict(block).items():
        if key not in ("name", *also):
            check_name(key, (*open_names, *also), f"config.{where}", old=where)
            result[key] = _argument(parameters[key], as_tuples(value), f"{where}.{key}")
    for name in open_names:
        if parameters[name].default is inspect.Parameter.empty and name not in result:
            raise ValueError(f"config.{where} lacks {name!r}")
    return result


def _argument(parameter: inspect.Parameter, value: Any, where: str) -> Any:
    key = parameter.name.removeprefix("rpn_")  # of two stages the first can have its own
    if key not in CHOICES:
        check_value(value, parameter.annotation, where)
        return value
    optional = "None" in str(parameter.annotation)
    return choose(key, value, where, optional=optional)


def _inputs(parameters: Mapping[str, inspect.Parameter]) -> set[str]:
    by_position, empty = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.empty
    return {n for n, p in parameters.items() if p.kind is by_position and p.default is empty}


def check_name(name: str, known: Iterable[str], where: str, *, old: str | None = None) -> None:
    """Raises ValueError, suggesting the closest known name, unless `name` is in `known`.

    `old`, if given, is the path of the block in which `name` is a key; the message for a key of an
    earlier version then gives its current name.
    """
    known = sorted(known)
    if name in known:
        return
    now = None if old is None else old_recipes.successor(f"{old}.{name}".lstrip("."))
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
    hint = hint if now is None else f"it is now config.{now}"
    raise ValueError(f"{where}: there is no {name!r}; {hint}")


def as_tuples(value: Any) -> Any:
    """Turns lists (JSON has no tuples) into tuples at any depth; modules must be hashable."""
    if isinstance(value, list | tuple):
        return tuple(as_tuples(v) for v in value)
    return value


def check_value(value: Any, annotation: Any, where: str) -> None:
    """Raises ValueError unless `value` is of the annotated type and in the range of its key.

    `where` is its path in the config. Of annotations, numbers, strings and tuples are checked, also
    how many a tuple has.
    """
    if not _fits(value, annotation):
        expected = _described(annotation)
        raise ValueError(f"config.{where} is {value!r}, expected {expected}")
    limits.check(value, where)


_PLAIN = {int: (int,), float: (int, float), str: (str,), bool: (bool,)}


def _fits(value: Any, annotation: Any) -> bool:
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (UnionType, typing.Union):
        return any(_fits(value, part) for part in parts)
    if annotation in _PLAIN:
        is_bool = isinstance(value, bool) and annotation is not bool
        return isinstance(value, _PLAIN[annotation]) and not is_bool
    if annotation is NoneType:
        return value is None
    if tuple not in (annotation, origin):
        return True
    if not isinstance(value, tuple):
        return False
    if parts[1:] == (...,):
        parts = (parts[0],) * len(value)
    return not parts or (len(parts) == len(value) and all(map(_fits, value, parts)))


def _described(annotation: Any) -> str:
    """A type in words: "tuple of float", "tuple of 3 float"."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (UnionType, typing.Union):
        return " or ".join(_described(part) for part in parts)
    if annotation is NoneType:
        return "None"
    if origin is not tuple:
        return getattr(annotation, "__name__", str(annotation))
    number = "" if parts[1:] == (...,) else f"{len(parts)} "
    return f"tuple of {number}{_described(parts[0])}"
