"""Parameter names of github.com/yjh0410/PyTorch_YOLOv2: YOLOv2 on Darknet-19.

The neck of its recipe is `passthrough`.
"""

from collections.abc import Mapping

import numpy as np

from jaxdet.convert.darknet import BACKBONES as DARKNET


def _conv(theirs: str, ours: str) -> dict[str, str]:
    return {f"{theirs}.convs.0": f"{ours}/conv", f"{theirs}.convs.1": f"{ours}/norm"}


def _in_backbone(name: str) -> str:
    """Their name for a layer: conv4_2 is convolution 1 of block 4."""
    block, i = name.removeprefix("conv").split("_")
    return f"backbone.conv_{block}.{int(i) - 1}"


_NECK = {
    "convsets_1.0": "neck/conv1",
    "convsets_1.1": "neck/conv2",
    "route_layer": "neck/space_to_depth",
    "convsets_2": "neck/conv3",
}

_yolov2 = {
    name: path
    for theirs, ours in (
        *((_in_backbone(name), f"backbone/{name}") for name in DARKNET["darknet19"]),
        *_NECK.items(),
    )
    for name, path in _conv(theirs, ours).items()
} | {"pred": "head/level0/conv"}

MODELS = {("yolov2", "passthrough", "darknet19"): _yolov2}  # by the recipe's family, neck, backbone

_ANCHORS = 5  # per cell, in all their recipes


def rearrange(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`weights` without biases before a BatchNorm, and with the outputs of a cell in our order.

    Such a bias is subtracted from the running mean: it shifts the map and its mean alike. Their
    order is the objectness of all anchors, then the classes of all, then the boxes.
    """
    result = {}
    for name, array in weights.items():
        layer, _, rest = name.rpartition(".convs.")
        if rest == "1.running_mean":
            array = array - weights.get(f"{layer}.convs.0.bias", 0)
        if name in ("pred.weight", "pred.bias"):
            array = _by_anchor(array)
        if rest != "0.bias":
            result[name] = array
    return result


def _by_anchor(array: np.ndarray) -> np.ndarray:
    """Rows [5 x (1 + K + 4), ...] ordered by anchor, then box, objectness, classes."""
    rest = array.shape[1:]
    objectness, classes, boxes = np.split(array, (_ANCHORS, len(array) - 4 * _ANCHORS))
    parts = [part.reshape(_ANCHORS, -1, *rest) for part in (boxes, objectness, classes)]
    return np.concatenate(parts, axis=1).reshape(array.shape)
