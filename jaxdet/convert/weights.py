"""Loads weights that were trained elsewhere, with the name tables in `jaxdet/convert/SOURCE.py`.

A table maps modules of a PyTorch state dict to ours, {"features.0.1": "backbone/stem/norm"}; None
leaves a module out on purpose. The names of the arrays within a module, and the order of their
axes, are the same throughout PyTorch and are handled here. Files without names are Darknet's:
`jaxdet/convert/darknet.py`.
"""

import functools
import importlib
import os
import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any

import flax.traverse_util
import numpy as np

from jaxdet.convert import files
from jaxdet.convert.files import few, read

Table = Mapping[str, str | None]
Weights = Mapping[str, np.ndarray]
Path_ = tuple[str, ...]

_LEAVES = {  # PyTorch's name and number of axes -> our collection and name
    ("weight", 4): ("params", "kernel"),
    ("weight", 2): ("params", "kernel"),
    ("weight", 1): ("params", "scale"),
    ("bias", 1): ("params", "bias"),
    ("running_mean", 1): ("batch_stats", "mean"),
    ("running_var", 1): ("batch_stats", "var"),
}


@functools.cache
def sources() -> dict[str, ModuleType]:
    """The modules beside this one that have name tables, by module name.

    A source has `MODELS`, tables by `build.Recipe.model`, or `BACKBONES`, tables by the name of the
    recipe's backbone, or both. `rearrange(weights)` puts the arrays of a detector into our order;
    `entries(file, table, variables)` reads file formats other than PyTorch's.
    """
    folder = importlib.import_module("jaxdet.convert")
    names = [info.name for info in pkgutil.iter_modules(folder.__path__)]
    files = {
        name: importlib.import_module(f"jaxdet.convert.{name}")
        for name in names
        if name != "__main__"
    }
    tables = ("MODELS", "BACKBONES")
    return {n: file for n, file in files.items() if any(hasattr(file, t) for t in tables)}


def entries(
    file: str | os.PathLike[str], source: ModuleType, model: tuple[str, ...], variables: Any
) -> list[tuple[str, Path_, np.ndarray]]:
    """The contents of a `file` with a whole detector, for `fill`.

    `source` is the module with its names, `model` is that of the recipe. ValueError if the file
    cannot be read or has other names.
    """
    table = source.MODELS[model]
    if hasattr(source, "entries"):
        return source.entries(file, table, variables)
    return renamed(source.rearrange(read(file)), table)


def paths(weights: Weights, table: Table) -> dict[str, Path_]:
    """Where every array of `weights` belongs: {"features.0.0.weight": ("params", ..., "kernel")}.

    Arrays that the table leaves out are not in the result. ValueError, naming the first ones, if
    the table does not know some.
    """
    found, unknown = {}, []
    for name, array in weights.items():
        module, _, leaf = name.rpartition(".")
        if leaf == "num_batches_tracked" or (module in table and table[module] is None):
            continue
        if module not in table or (leaf, array.ndim) not in _LEAVES:
            unknown.append(f"{name} {array.shape}")
            continue
        collection, ours = _LEAVES[leaf, array.ndim]
        found[name] = (collection, *table[module].split("/"), ours)
    if unknown:
        hint = _names_of(weights, table)
        raise ValueError(f"unknown names: {few(unknown)}, of {len(weights):,} arrays{hint}")
    return found


def _names_of(weights: Weights, table: Table) -> str:
    """Whose names most arrays of `weights` have, if not those of the `table`, for a message."""
    modules = {name.rpartition(".")[0] for name in weights}
    share, whose = max(len(modules) // 2, len(modules & set(table))), ""
    for source, file in sources().items():
        for kind in ("MODELS", "BACKBONES"):
            for model, known in getattr(file, kind, {}).items():
                if isinstance(known, Mapping) and len(modules & set(known)) > share:
                    share = len(modules & set(known))
                    named = " + ".join(model) if kind == "MODELS" else f"the classifier {model}"
                    whose = f"; most names are those of {source}'s {named}"
    return whose


def to_ours(weights: Weights, table: Table, variables: Any) -> dict[str, Any]:
    """`variables` with every array taken from `weights`, each used once.

    Only shapes are read from `variables` (jax.eval_shape will do). ValueError, listing by name
    what is missing, left over, given twice, or of the wrong shape.
    """
    ours, _ = fill(renamed(weights, table), variables)
    return ours


def renamed(weights: Weights, table: Table) -> list[tuple[str, Path_, np.ndarray]]:
    """(their name, our path, the array with its axes in our order) for every array, for `fill`.

    ValueError for names that the table does not know, and for whole numbers.
    """
    where = paths(weights, table)
    whole = [f"{name} {weights[name].dtype}" for name in where if weights[name].dtype.kind in "iub"]
    if whole:
        raise ValueError(f"expected floats, found {few(whole)}: quantised weights cannot be used")
    return [
        (name, path, _transposed(weights[name], (2, 3, 1, 0)).astype(np.float32))
        for name, path in where.items()
    ]


def fill(
    given: Iterable[tuple[str, Path_, np.ndarray]],
    variables: Any,
    *,
    class_parts: Sequence[str] = (),
) -> tuple[dict[str, Any], list[str]]:
    """`variables` with every array taken from `given`: (name for messages, path, array).

    In the parts of the network in `class_parts`, layers that differ only in their number of
    outputs, as for another number of classes, keep their variables; their paths are returned too.
    ValueError, naming the first ones, if some are missing, left over, given twice, or of the wrong
    shape.
    """
    expected = flax.traverse_util.flatten_dict(variables)
    result, faults, fresh = {}, {"left over: ": [], "given twice: ": [], "": []}, []
    for name, path, array in given:
        if path not in expected:  # a frozen normalisation's scale and bias are statistics, too
            path = ("batch_stats", *path[1:])
        ours = "/".join(path)
        if path not in expected:
            faults["left over: "].append(name)
            continue
        want = expected[path].shape
        if want[:-2] == (1, 1) and array.shape == want[2:]:
            array = array.reshape(want)  # a linear layer is a 1x1 convolution
        if path in result:
            faults["given twice: "].append(f"{ours}, the second time as {name}")
        elif array.shape != want and path[1] in class_parts and array.shape[:-1] == want[:-1]:
            fresh.append(ours)
            array = expected[path]
        elif array.shape != want:
            faults[""].append(f"{name} has shape {array.shape}, but {ours} is {want}")
        result[path] = array
    faults["missing: "] = ["/".join(path) for path in expected if path not in result]
    said = [f"{kind}{few(names)}" for kind, names in faults.items() if names]
    if said:
        raise ValueError("the weights do not fit the network; " + "; ".join(said))
    return flax.traverse_util.unflatten_dict(result), fresh


def to_theirs(tree: Any, where: Mapping[str, Path_]) -> dict[str, np.ndarray]:
    """The arrays of our `tree` (variables, or gradients) under their names, in their layout.

    `where` comes from `paths`; names whose path is not in `tree` are left out.
    """
    flat = flax.traverse_util.flatten_dict(tree)
    return {
        name: _transposed(np.asarray(flat[path]), (3, 2, 0, 1))
        for name, path in where.items()
        if path in flat
    }


def load_backbone(
    file: str | os.PathLike[str], variables: Mapping[str, Any], *, model: tuple[str, ...]
) -> dict[str, Any]:
    """`variables` of a whole detector with those of its backbone taken from an ImageNet classifier.

    `model` is that of the recipe; the file may be torchvision's, timm's, Darknet's or one that
    lufficc/SSD starts from. Darknet's may also have the first layers after the backbone. ValueError
    if no table has the backbone, or if the file's arrays are not exactly those of the backbone.
    """
    for source in sources().values():
        if hasattr(source, "is_own") and source.is_own(file):
            flat = flax.traverse_util.flatten_dict(variables)
            for _, path, array in source.beginning(file, model, variables):
                flat[path] = array
            return flax.traverse_util.unflatten_dict(flat)
    *_, backbone = model
    table = backbone_table(backbone)  # before the file is read: it may be large
    ours = {kind: tree["backbone"] for kind, tree in variables.items() if "backbone" in tree}
    loaded = to_ours(_rearranged(read(file), backbone), table, ours)
    return {
        kind: {**tree, "backbone": loaded[kind]} if kind in loaded else tree
        for kind, tree in variables.items()
    }


def check_classifier(file: str | os.PathLike[str], backbone: str) -> None:
    """Raises ValueError, reading only the beginning, for what `load_backbone` would refuse at once:
    a file that is none of weights, or a backbone that no source has."""
    file = files.check(file)
    if any(hasattr(source, "is_own") and source.is_own(file) for source in sources().values()):
        return
    files.kind_of(file)
    backbone_table(backbone)


def backbone_table(backbone: str) -> Table:
    """The names of an ImageNet classifier with this backbone, in all sources that have one.

    They fit in one table because no two sources use the same name for different things.
    """
    tables = _tables_of(backbone)
    if not tables:
        known = {name for source in _named_sources() for name in source.BACKBONES}
        raise ValueError(
            f"ImageNet weights are known for {', '.join(sorted(known))}, not for {backbone!r}"
        )
    return {theirs: ours for table in tables for theirs, ours in table.items()}


def _tables_of(backbone: str) -> list[Table]:
    tables = [source.BACKBONES for source in _named_sources()]
    return [tables_[backbone] for tables_ in tables if backbone in tables_]


def _named_sources() -> list[ModuleType]:
    """The sources of classifiers whose files have names."""
    return [s for s in sources().values() if hasattr(s, "BACKBONES") and not hasattr(s, "entries")]


def _rearranged(weights: Weights, backbone: str) -> Weights:
    """The weights of a classifier in the form its backbone takes; a source may define how."""
    for source in _named_sources():
        for change in getattr(source, "BACKBONE_CHANGES", {}).get(backbone, ()):
            weights = change(weights)
    return weights


def _transposed(array: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Kernels with their axes reordered, OIHW to HWIO or back, OI to IO; other arrays unchanged."""
    if array.ndim == 4:
        return array.transpose(axes)
    return array.T
