"""Weights that were trained elsewhere, by name tables: `jaxdet/convert/<whose names>.py`.

A table maps modules of a PyTorch state dict to modules of ours, {"features.0.1":
"backbone/stem/norm"}; a value of None leaves that module out on purpose. What the arrays within a
module are called, and how their axes turn, is the same for all of PyTorch and lives here.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.traverse_util
import numpy as np
import safetensors.numpy

from jaxdet.convert import torchvision

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
    """The arrays of a `.safetensors` file, or of a `.pth`/`.pt` one, which needs PyTorch."""
    file = Path(file)
    if not file.is_file():
        raise ValueError(f"there is no weights file {file}")
    if file.suffix == ".safetensors":
        return safetensors.numpy.load_file(file)
    if file.suffix in (".pth", ".pt"):
        return _read_torch(file)
    raise ValueError(f"{file}: expected a .safetensors, .pth or .pt file")


def _read_torch(file: Path) -> dict[str, np.ndarray]:
    try:
        import torch  # an extra: the core does without
    except ImportError as error:
        raise ValueError(f"{file}: reading it needs PyTorch, pip install jaxdet[torch]") from error
    content = torch.load(file, map_location="cpu", weights_only=True)
    content = content.get("model", content)  # training checkpoints keep the optimiser beside it
    return {name: tensor.numpy() for name, tensor in content.items()}


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
    expected = flax.traverse_util.flatten_dict(variables)
    result, faults = {}, []
    for name, path in paths(weights, table).items():
        array = _transposed(weights[name], (2, 3, 1, 0))
        if path not in expected:
            faults.append(f"left over: {name}")
        elif path in result:
            faults.append(f"given twice: {'/'.join(path)}, the second time as {name}")
        elif array.shape != expected[path].shape:
            want = expected[path].shape
            faults.append(f"{name} makes {array.shape}, but {'/'.join(path)} is {want}")
        result[path] = array.astype(np.float32)
    faults += [f"missing: {'/'.join(path)}" for path in expected if path not in result]
    if faults:
        raise ValueError("the weights do not fit the network; " + "; ".join(faults))
    return flax.traverse_util.unflatten_dict(result)


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

    `backbone` is its name in the config. ValueError where no table has that name, or where the
    file's arrays are not exactly those of the backbone.
    """
    if backbone not in torchvision.BACKBONES:
        known = ", ".join(torchvision.BACKBONES)
        raise ValueError(f"ImageNet weights are understood for {known}, not for {backbone!r}")
    theirs = read(file)
    if "classifier.0.weight" in theirs and backbone == "vgg16":
        theirs = _subsample_vgg_classifier(theirs)
    ours = {kind: tree["backbone"] for kind, tree in variables.items() if "backbone" in tree}
    loaded = to_ours(theirs, torchvision.BACKBONES[backbone], ours)
    return {
        kind: {**tree, "backbone": loaded[kind]} if kind in loaded else tree
        for kind, tree in variables.items()
    }


def _subsample_vgg_classifier(theirs: Weights) -> dict[str, np.ndarray]:
    """The fully connected layers of VGG16 as fc6 and fc7 (SSD, section 3): every fourth of the
    4096 features, and every third row and column of the 7x7 window, which dilation then spreads.
    """
    window = theirs["classifier.0.weight"].reshape(4096, 512, 7, 7)
    return dict(theirs) | {
        "classifier.0.weight": window[::4, :, ::3, ::3],
        "classifier.0.bias": theirs["classifier.0.bias"][::4],
        "classifier.3.weight": theirs["classifier.3.weight"][::4, ::4, None, None],
        "classifier.3.bias": theirs["classifier.3.bias"][::4],
    }


def _transposed(array: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Kernels with their axes turned, OIHW to HWIO or back; OI to IO; the rest as it is."""
    if array.ndim == 4:
        return array.transpose(axes)
    return array.T
