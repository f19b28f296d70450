"""Weights that were trained elsewhere, by name tables: `jaxdet/convert/<whose names>.py`.

A table maps modules of a PyTorch state dict to modules of ours, {"features.0.1":
"backbone/stem/norm"}; a value of None leaves that module out on purpose. What the arrays within a
module are called, and how their axes turn, is the same for all of PyTorch and lives here. Files
without names are Darknet's: `jaxdet/convert/darknet.py`.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from types import ModuleType
from typing import Any

import flax.traverse_util
import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from jaxdet.convert import caffe_vgg, darknet, lufficc, timm, torchvision

Table = Mapping[str, str | None]
Weights = Mapping[str, np.ndarray]
Path_ = tuple[str, ...]

_LEAVES = {  # PyTorch's name and number of axes -> collection and name of ours
    ("weight", 4): ("params", "kernel"),
    ("weight", 2): ("params", "kernel"),
    ("weight", 1): ("params", "scale"),
    ("bias", 1): ("params", "bias"),
    ("running_mean", 1): ("batch_stats", "mean"),
    ("running_var", 1): ("batch_stats", "var"),
}


def read(file: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of a `.safetensors` file, or of a `.pth`/`.pt` one, which needs PyTorch.

    ValueError where there is no such file, it is damaged, or numbers are not finite: torchvision
    has a VGG16 whose classifier, the later fc6 and fc7, is missing in that way.
    """
    file = Path(file)
    if not file.is_file():
        raise ValueError(f"there is no weights file {file}")
    if file.suffix not in _READERS:
        raise ValueError(f"{file}: expected a .safetensors, .pth or .pt file")
    try:
        arrays = _READERS[file.suffix](file)
    except (SafetensorError, RuntimeError, UnpicklingError, EOFError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from error
    broken = [name for name, array in arrays.items() if not np.isfinite(array).all()]
    if broken:
        raise ValueError(f"{file}: not all numbers are finite in {', '.join(broken)}")
    return arrays


def _read_torch(file: Path) -> dict[str, np.ndarray]:
    try:
        import torch  # an extra: the core does without
    except ImportError as error:
        raise ValueError(f"{file}: reading it needs PyTorch, pip install jaxdet[torch]") from error
    content = torch.load(file, map_location="cpu", weights_only=True)
    for key in ("model", "state_dict"):  # training checkpoints keep the optimiser beside it
        content = content.get(key, content)
    return {name: tensor.numpy() for name, tensor in content.items()}


_READERS = {".safetensors": safetensors.numpy.load_file, ".pth": _read_torch, ".pt": _read_torch}


def entries(
    file: str | os.PathLike[str], source: ModuleType, backbone: str, variables: Any
) -> list[tuple[str, Path_, np.ndarray]]:
    """What is in the `file` of a whole detector, for `adopt`.

    `source` is the module with its names, `backbone` that of the recipe. ValueError where the file
    cannot be read, or has other names.
    """
    if source is darknet:
        return darknet.entries(file, darknet.MODELS[backbone], variables)
    return renamed(source.rearrange(read(file)), source.MODELS[backbone])


def paths(weights: Weights, table: Table) -> dict[str, Path_]:
    """Where every array of `weights` belongs: {"features.0.0.weight": ("params", ..., "kernel")}.

    Arrays that the table leaves out are not in the answer. ValueError with the names that the
    table does not know.
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
        raise ValueError("nothing is known by these names: " + ", ".join(unknown))
    return found


def to_ours(weights: Weights, table: Table, variables: Any) -> dict[str, Any]:
    """`variables` with every array taken from `weights`, each used once.

    Only shapes are read from `variables` (jax.eval_shape will do). ValueError that lists by name
    what is missing, left over, given twice, or of another shape.
    """
    ours, fresh = adopt(renamed(weights, table), variables)
    if fresh:
        raise ValueError(f"the weights are for another number of classes: {', '.join(fresh)}")
    return ours


def renamed(weights: Weights, table: Table) -> list[tuple[str, Path_, np.ndarray]]:
    """(their name, our path, the array with its axes turned) of every array, for `adopt`."""
    return [
        (name, path, _transposed(weights[name], (2, 3, 1, 0)).astype(np.float32))
        for name, path in paths(weights, table).items()
    ]


def adopt(
    given: Iterable[tuple[str, Path_, np.ndarray]], variables: Any
) -> tuple[dict[str, Any], list[str]]:
    """`variables` with every array taken from `given`: (name for messages, path, array).

    Layers of the head that differ in their number of outputs only, as they do for another number
    of classes, stay as they are; their paths are returned beside. ValueError that lists what is
    missing, left over, given twice, or of another shape.
    """
    expected = flax.traverse_util.flatten_dict(variables)
    result, faults, fresh = {}, [], []
    for name, path, array in given:
        ours = "/".join(path)
        if path not in expected:
            faults.append(f"left over: {name}")
            continue
        want = expected[path].shape
        if want[:-2] == (1, 1) and array.shape == want[2:]:
            array = array.reshape(want)  # a linear layer is a 1x1 convolution
        if path in result:
            faults.append(f"given twice: {ours}, the second time as {name}")
        elif array.shape != want and path[1] == "head" and array.shape[:-1] == want[:-1]:
            fresh.append(ours)
            array = expected[path]
        elif array.shape != want:
            faults.append(f"{name} makes {array.shape}, but {ours} is {want}")
        result[path] = array
    faults += [f"missing: {'/'.join(path)}" for path in expected if path not in result]
    if faults:
        raise ValueError("the weights do not fit the network; " + "; ".join(faults))
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
    file: str | os.PathLike[str], variables: Mapping[str, Any], *, backbone: str
) -> dict[str, Any]:
    """`variables` of a whole detector with those of its backbone taken from an ImageNet classifier.

    `backbone` is its name in the config; the file may be torchvision's, timm's, Darknet's or what
    lufficc/SSD begins from. ValueError where no table has that name, or where the file's arrays are
    not exactly those of the backbone.
    """
    ours = {kind: tree["backbone"] for kind, tree in variables.items() if "backbone" in tree}
    if darknet.is_darknet(file):
        loaded, _ = adopt(darknet.entries(file, darknet.order(backbone), ours), ours)
    else:
        table, theirs = backbone_table(backbone), read(file)
        if backbone == "vgg16":
            theirs = _subsample_vgg_classifier(theirs)
        loaded = to_ours(theirs, table, ours)
    return {
        kind: {**tree, "backbone": loaded[kind]} if kind in loaded else tree
        for kind, tree in variables.items()
    }


def backbone_table(backbone: str) -> Table:
    """The names of an ImageNet classifier with this backbone in all sources that have one.

    They can stand in one table because no two sources mean different things by a name.
    """
    sources = [source.BACKBONES for source in (torchvision, timm, lufficc, caffe_vgg)]
    tables = [tables[backbone] for tables in sources if backbone in tables]
    if not tables:
        known = ", ".join(sorted(set().union(*sources)))
        raise ValueError(f"ImageNet weights are understood for {known}, not for {backbone!r}")
    return {theirs: ours for table in tables for theirs, ours in table.items()}


def _subsample_vgg_classifier(theirs: Weights) -> dict[str, np.ndarray]:
    """The fully connected layers of VGG16 as fc6 and fc7 (SSD, section 3): every fourth of the
    4096 features, and every third row and column of the 7x7 window, which dilation then spreads.

    Under torchvision's names or timm's; weights that have neither are fc6 and fc7 already.
    """
    for fc6, fc7 in (("classifier.0", "classifier.3"), ("pre_logits.fc1", "pre_logits.fc2")):
        if f"{fc6}.weight" in theirs:
            window = theirs[f"{fc6}.weight"].reshape(4096, 512, 7, 7)
            dense = theirs[f"{fc7}.weight"].reshape(4096, 4096)
            return dict(theirs) | {
                f"{fc6}.weight": window[::4, :, ::3, ::3],
                f"{fc6}.bias": theirs[f"{fc6}.bias"][::4],
                f"{fc7}.weight": dense[::4, ::4, None, None],
                f"{fc7}.bias": theirs[f"{fc7}.bias"][::4],
            }
    return dict(theirs)


def _transposed(array: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Kernels with their axes turned, OIHW to HWIO or back; OI to IO; the rest as it is."""
    if array.ndim == 4:
        return array.transpose(axes)
    return array.T
