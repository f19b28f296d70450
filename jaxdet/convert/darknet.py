"""Weight files of Darknet (github.com/pjreddie/darknet, github.com/AlexeyAB/darknet): YOLOv2 to v4.

A file has no names: after a header come the arrays of each convolution, in the order of the .cfg.
The orders here are those of `yolov2.cfg`, which needs a recipe whose neck is `passthrough` with
`reorg="darknet_reorg"`, of `yolov3.cfg`, `yolov3-spp.cfg`, `yolov3-tiny.cfg`, `yolov4.cfg` and
`yolov4-tiny.cfg`. Files such as `darknet53.conv.74` or `yolov4.conv.137` have a network's first
layers.
"""

import itertools
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.traverse_util
import numpy as np

from jaxdet.convert import files

Path_ = tuple[str, ...]
Place = tuple[Path_, tuple[int, ...]]  # where an array belongs, and its shape there

_darknet19 = [
    f"conv{block}_{i}"
    for block, count in enumerate((1, 1, 3, 3, 5, 5), start=1)
    for i in range(1, count + 1)
]
_darknet53, _cspdarknet53 = ["stem"], ["stem"]
for stage, count in enumerate((1, 2, 8, 8, 4), start=1):
    blocks = [f"{i}/{part}" for i in range(1, count + 1) for part in ("narrow", "widen")]
    _darknet53 += [f"down{stage}", *(f"block{stage}_{block}" for block in blocks)]
    parts = ["aside", "enter", *(f"block{block}" for block in blocks), "leave", "merge"]
    _cspdarknet53 += [f"down{stage}", *(f"stage{stage}/{part}" for part in parts)]

_darknet_tiny = [f"conv{i}" for i in range(1, 8)]
_tiny_stages = [
    f"stage{i}/{part}" for i in (1, 2, 3) for part in ("conv1", "conv2", "conv3", "merge")
]
_cspdarknet53_tiny = ["stem", "down", *_tiny_stages, "last"]

BACKBONES = {
    "darknet19": _darknet19,
    "darknet53": _darknet53,
    "darknet_tiny": _darknet_tiny,
    "cspdarknet53": _cspdarknet53,
    "cspdarknet53_tiny": _cspdarknet53_tiny,
}

_passthrough = ["neck/conv1", "neck/conv2", "neck/darknet_reorg", "neck/conv3", "head/level0"]


def _fpn(neck: str, convs: tuple[int, ...]) -> list[str]:
    """The layers of the neck `yolo_fpn` under the path `neck`, and of the head."""
    layers = []
    for i in reversed(range(len(convs))):
        up = [f"{neck}/up{i}"] if i < len(convs) - 1 else []
        each = [f"{neck}/conv{i}_{j}" for j in range(1, convs[i] + 2)]
        layers += [*up, *each, f"head/level{i}"]
    return layers


_spp = [f"neck/spp/conv{i}" for i in range(1, 7)]
_pan = []
for i in (1, 0):
    five = [f"topdown{i}_{j}" for j in range(1, 6)]
    _pan += [f"neck/pan/{layer}" for layer in (f"up{i}", f"lateral{i}", *five)]
for i in (0, 1, 2):
    five = [f"down{i}", *(f"bottomup{i}_{j}" for j in range(1, 6))] if i else []
    _pan += [*(f"neck/pan/{layer}" for layer in (*five, f"out{i}")), f"head/level{i}"]

_AFTER = {  # the layers after the backbone, by the recipe's family, neck and backbone
    ("yolov2", "passthrough", "darknet19"): _passthrough,
    ("yolov3", "yolo_fpn", "darknet53"): _fpn("neck", (5, 5, 5)),
    ("yolov3", "spp+yolo_fpn", "darknet53"): [*_spp, *_fpn("neck/yolo_fpn", (5, 5, 0))],
    ("yolov3", "yolo_fpn", "darknet_tiny"): _fpn("neck", (0, 1)),
    ("yolov4", "spp+pan", "cspdarknet53"): [*_spp, *_pan],
    ("yolov4", "yolo_fpn", "cspdarknet53_tiny"): _fpn("neck", (0, 1)),
}
MODELS = {
    model: [*(f"backbone/{layer}" for layer in BACKBONES[model[-1]]), *after]
    for model, after in _AFTER.items()
}

# The arrays of a layer, in file order. With BatchNorm the convolution has no bias.
_ARRAYS = (
    ("params", "norm", "bias"),
    ("params", "norm", "scale"),
    ("batch_stats", "norm", "mean"),
    ("batch_stats", "norm", "var"),
    ("params", "conv", "bias"),
    ("params", "conv", "kernel"),
)


def is_own(file: str | os.PathLike[str]) -> bool:
    """Whether a file is named like one of Darknet's: `yolov3.weights`, `darknet53.conv.74`."""
    return re.search(r"\.(weights|conv\.\d+)$", Path(file).name) is not None


def read(file: str | os.PathLike[str]) -> np.ndarray:
    """All numbers of a file after its header, flat float32.

    ValueError if there is no such file, if it is of another kind, or if a number is not finite.
    """
    file = files.check(file)
    if (form := files.kind(file)) is not None:
        raise ValueError(f"{file} is not a Darknet file: its contents are those of {form}")
    header = np.fromfile(file, "<i4", 3)
    if len(header) < 3:
        raise ValueError(f"{file} is not a Darknet file: it ends within the header")
    major, minor, _ = header.tolist()
    wide = major * 10 + minor >= 2 and max(major, minor) < 1000  # Darknet's own rule
    numbers = np.fromfile(file, "<f4", offset=12 + (8 if wide else 4))  # skips the images seen
    if not np.isfinite(numbers).all():
        raise ValueError(f"{file}: not all numbers are finite")
    return numbers


def beginning(
    file: str | os.PathLike[str], model: tuple[str, ...], variables: Mapping[str, Any]
) -> list[tuple[str, Path_, np.ndarray]]:
    """As `entries`, for a file with the first layers of a network: at least its whole backbone.

    `model` is that of the recipe. ValueError if the backbone is unknown, or if no number of the
    first layers has as many numbers as the file.
    """
    *_, backbone = model
    if backbone not in BACKBONES:
        raise ValueError(f"Darknet has {', '.join(BACKBONES)}, not {backbone!r}")
    least = [f"backbone/{layer}" for layer in BACKBONES[backbone]]
    layers = MODELS.get(model, least)
    sizes = [sum(math.prod(shape) for _, shape in _places(each, variables)) for each in layers]
    ends, count = list(itertools.accumulate(sizes)), len(read(file))
    if count not in ends[len(least) - 1 :]:
        raise ValueError(
            f"{file} has {count:,} numbers, expected the {ends[len(least) - 1]:,} of {backbone}, "
            f"or more layers of the network, up to {ends[-1]:,}"
        )
    return entries(file, layers[: ends.index(count) + 1], variables)


def entries(
    file: str | os.PathLike[str], order: Sequence[str], variables: Mapping[str, Any]
) -> list[tuple[str, Path_, np.ndarray]]:
    """(name for messages, our path, array) for everything in `file`, for `weights.fill`.

    `order` has our layers in file order; their shapes come from `variables`. The last layers may be
    for another number of classes, which follows from the file's length. ValueError if the length
    does not fit, or a variance is negative.
    """
    numbers = read(file)
    places = [place for layer in order for place in _places(layer, variables)]
    expected = sum(math.prod(shape) for _, shape in places)
    if len(numbers) != expected:
        places = _with_outputs(places, len(numbers) - expected)
    if places is None:
        raise ValueError(f"{file} has {len(numbers):,} numbers, the network has {expected:,}")
    found, start = [], 0
    for path, shape in places:
        end = start + math.prod(shape)
        array = _as_ours(numbers[start:end], shape)
        if path[-1] == "var" and array.min() < 0:
            raise ValueError(f"{file} is for another network: {'/'.join(path)} would be negative")
        found.append((f"numbers {start} to {end}", path, array))
        start = end
    return found


def _places(layer: str, variables: Mapping[str, Any]) -> list[Place]:
    flat = flax.traverse_util.flatten_dict(variables)
    paths = [(kind, *layer.split("/"), *leaf) for kind, *leaf in _ARRAYS]
    if not any(path in flat for path in paths):
        raise ValueError(f"the recipe's network has no {layer}, which Darknet's has")
    return [(path, flat[path].shape) for path in paths if path in flat]


def _with_outputs(places: Sequence[Place], more: int) -> list[Place] | None:
    """`places` with more outputs in the head's layers, so that there are `more` numbers in all.

    None if no number of outputs, the same for all of these layers, gives that.
    """
    last = [shape for path, shape in places if path[1] == "head"]
    outputs, each = {shape[-1] for shape in last}, sum(math.prod(shape[:-1]) for shape in last)
    if len(outputs) != 1 or more % each or outputs.pop() + more // each <= 0:
        return None
    return [
        (path, (*shape[:-1], shape[-1] + more // each) if path[1] == "head" else shape)
        for path, shape in places
    ]


def _as_ours(numbers: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An array in our layout; Darknet's kernels are [output, input, row, column]."""
    if len(shape) == 1:
        return numbers
    height, width, inputs, outputs = shape
    return numbers.reshape(outputs, inputs, height, width).transpose(2, 3, 1, 0)
