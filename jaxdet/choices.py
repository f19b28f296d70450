"""What a recipe can name: the border where names become functions and unknown ones are refused.

A name is looked up by the key that it stands for. It is a file of a folder, as
`backbone=dict(name="vgg16")` is `jaxdet/backbones/vgg16.py`, or a function of a module, as
`activation="hard_swish"`. There is nothing to register: what a file defines can be named.
"""

import difflib
import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

from jaxdet.training import old_recipes

# A value is a name, or dict(name=..., ...) with options; "none" is for a key that may go without.
CHOICES = {
    "activation": "jaxdet.layers.activations",
    "attention": "jaxdet.layers.attention",
    "backbone": "jaxdet.backbones",
    "box_loss": "jaxdet.losses.box",
    "class_loss": "jaxdet.losses.classes",
    "colour": "jaxdet.augment.colour",
    "detector": "jaxdet.detectors",
    "head": "jaxdet.heads",
    "metric": "jaxdet.metrics",
    "mix": "jaxdet.augment.mix",
    "neck": "jaxdet.necks",
    "nms": "jaxdet.boxes.nms",
    "norm": "jaxdet.layers.norms",
    "optimiser": "jaxdet.training.optimisers",
    "schedule": "jaxdet.training.schedules",
    "window": "jaxdet.augment.crops",
}


def names(key: str) -> list[str]:
    """The names that a recipe can give for a key of `CHOICES`."""
    return sorted(_candidates(CHOICES[key]))


def choose(
    key: str, value: Any, where: str, *, given: Iterable[str] = (), optional: bool = False
) -> Any:
    """What `value` names for a `key` of `CHOICES`, with its options bound.

    `value` is a name, or a mapping with `name` and options. `where` is its path in the config, for
    messages; `given` are arguments that the caller binds. If it is `optional`, the answer to "none"
    is None. ValueError, with the nearest name, where a name or a type does not fit.
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
    options = arguments(known[name], block, where, given=given)
    return _bound(known[name], **options) if options else known[name]


@functools.lru_cache(maxsize=1024)
def _bound(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """A partial; the same one for the same options, so that what it is part of compares equal."""
    return functools.partial(function, **options)


@functools.cache
def _candidates(place: str) -> dict[str, Any]:
    """By name, the choices in a module or a folder: only what it defines itself.

    Of a module these are the callables with a name in small letters. Of a folder they are what
    files define under their own name; a metric is a file that says what its `MAIN` number is.
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
    """The module that defines a function, a class, or what a partial is of."""
    return getattr(getattr(value, "func", value), "__module__", None) if callable(value) else None


def arguments(
    function: Callable[..., Any],
    block: Mapping[str, Any],
    where: str,
    *,
    given: Iterable[str] = (),
) -> dict[str, Any]:
    """The keyword arguments that `block` has for a function or class, with what they name chosen.

    Open to a recipe are the arguments that are not `given`, except a function's subjects: those by
    position and without a default. ValueError, with the nearest name, where names or types do not
    fit, or one is missing.
    """
    parameters = inspect.signature(function).parameters
    is_class = isinstance(getattr(function, "func", function), type)
    hidden = {*given, "name", "parent"} | (set() if is_class else _subjects(parameters))
    open_names = [name for name in parameters if name not in hidden]
    result = {}
    for key, value in dict(block).items():
        if key != "name":
            check_name(key, open_names, f"config.{where}", old=where)
            result[key] = _argument(parameters[key], as_tuples(value), f"{where}.{key}")
    for name in open_names:
        if parameters[name].default is inspect.Parameter.empty and name not in result:
            raise ValueError(f"config.{where} lacks {name!r}")
    return result


def _argument(parameter: inspect.Parameter, value: Any, where: str) -> Any:
    if parameter.name not in CHOICES:
        _check_type(value, parameter.annotation, f"config.{where}")
        return value
    optional = "None" in str(parameter.annotation)
    return choose(parameter.name, value, where, optional=optional)


def _subjects(parameters: Mapping[str, inspect.Parameter]) -> set[str]:
    by_position, empty = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.empty
    return {n for n, p in parameters.items() if p.kind is by_position and p.default is empty}


def check_name(name: str, known: Iterable[str], where: str, *, old: str | None = None) -> None:
    """ValueError with the nearest known name unless `name` is one of `known`.

    Where `old` is the path of the block that the name is a key of, a key of an earlier version is
    answered by its present name.
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
    """Lists (what JSON makes of tuples) as tuples, at any depth; modules must be hashable."""
    if isinstance(value, list | tuple):
        return tuple(as_tuples(v) for v in value)
    return value


def _check_type(value: Any, annotation: Any, where: str) -> None:
    plain = getattr(annotation, "__origin__", annotation)  # tuple[int, ...] -> tuple
    allowed = {int: (int,), float: (int, float), str: (str,), bool: (bool,), tuple: (tuple,)}
    if plain not in allowed:
        return
    if not isinstance(value, allowed[plain]) or (isinstance(value, bool) and plain is not bool):
        raise ValueError(f"{where} is {value!r}, expected {plain.__name__}")
