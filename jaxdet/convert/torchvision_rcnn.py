"""Parameter names of torchvision's Faster R-CNNs and RetinaNet, and the order of their classes.

They belong to the source `torchvision`. Faster R-CNN of version 2 (`fasterrcnn_resnet50_fpn_v2`)
has the same names where it has the same layers.
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from jaxdet.convert import regions
from jaxdet.convert.torchvision_names import mobilenet_v3_features, resnet50_layers

_CONV_NORM = ("conv", "norm")

_resnet50 = {f"backbone.body.{name}": f"backbone/{ours}" for name, ours in resnet50_layers.items()}
_mobilenet_v3 = {
    name.replace("features", "backbone.body"): f"backbone/{ours}"
    for name, ours in mobilenet_v3_features.items()
}
_pyramid = {
    f"backbone.fpn.{theirs}_blocks.{i}.{j}": f"neck/{ours}{i}/{layer}"
    for theirs, ours in (("inner", "lateral"), ("layer", "out"))
    for i in range(4)
    for j, layer in enumerate(_CONV_NORM)
}
_heads = {
    **{f"rpn.head.conv.{i}.0": f"rpn_head/conv{i + 1}/conv" for i in range(2)},
    "rpn.head.cls_logits": "rpn_head/logits",
    "rpn.head.bbox_pred": "rpn_head/boxes",
    **{
        f"roi_heads.box_head.{i}.{j}": f"roi_head/conv{i + 1}/{layer}"
        for i in range(4)
        for j, layer in enumerate(_CONV_NORM)
    },
    "roi_heads.box_head.fc6": "roi_head/hidden1",
    "roi_heads.box_head.fc7": "roi_head/hidden2",
    "roi_heads.box_predictor.cls_score": "roi_head/logits",
    "roi_heads.box_predictor.bbox_pred": "roi_head/boxes",
}
_retinanet = {
    **_resnet50,
    **_pyramid,
    **{f"backbone.fpn.extra_blocks.{name}": f"neck/{name}/conv" for name in ("p6", "p7")},
    **{
        f"head.{theirs}_head.conv.{i}.0": f"head/{ours}_conv{i + 1}/conv"
        for theirs, ours in (("classification", "logits"), ("regression", "boxes"))
        for i in range(4)
    },
    "head.classification_head.cls_logits": "head/logits",
    "head.regression_head.bbox_reg": "head/boxes",
}

TABLES = {  # as `MODELS` of a source
    ("faster_rcnn", "rpn", "fpn", "mobilenet_v3"): {**_mobilenet_v3, **_pyramid, **_heads},
    ("faster_rcnn", "rpn", "fpn", "resnet50"): {**_resnet50, **_pyramid, **_heads},
    ("retinanet", "fpn", "resnet50"): _retinanet,
}

# Names that torchvision itself still reads, from when these layers were in no block; the released
# files have them. The last is the only fully connected layer of version 2.
_OLD = (
    (re.compile(r"(rpn\.head\.conv)\.(\w+)"), r"\1.0.0.\2"),
    (re.compile(r"(backbone\.fpn\.(?:inner|layer)_blocks\.\d)\.(\w+)"), r"\1.0.\2"),
    *(
        (re.compile(rf"(head\.\w+_head\.conv)\.{2 * i}\.(weight|bias)"), rf"\1.{i}.0.\2")
        for i in range(4)
    ),
    (re.compile(r"(roi_heads\.box_head)\.5\.(\w+)"), r"\1.fc6.\2"),
)


def current_name(name: str) -> str:
    """The name in the tables of an array that older files have under another."""
    for old, new in _OLD:
        if old.fullmatch(name):
            return old.sub(new, name)
    return name


def rearrange(weights: Mapping[str, np.ndarray], unused: Sequence[int]) -> dict[str, np.ndarray]:
    """`weights` of a Faster R-CNN or RetinaNet with current names and our order of outputs.

    The boxes of the background are left out, as are RetinaNet's scores for it, and, of 91 classes,
    those that are `unused`. Other arrays are unchanged.
    """
    named = {current_name(name): array for name, array in weights.items()}
    return {name: _in_our_order(name, array, named, unused) for name, array in named.items()}


def _in_our_order(name, array, weights, unused):
    if name == "roi_heads.box_head.fc6.weight":
        return regions.window(array)
    module, _, _ = name.rpartition(".")
    rest = array.shape[1:]
    if module == "roi_heads.box_predictor.cls_score":
        return used_classes(array, unused)
    if module == "roi_heads.box_predictor.bbox_pred":
        of_classes = used_classes(array.reshape(-1, 4, *rest), unused)[1:]
        return regions.by_field(of_classes.reshape(-1, *rest))
    if module == "head.classification_head.cls_logits":
        anchors = len(weights["head.regression_head.bbox_reg.bias"]) // 4
        by_class = used_classes(array.reshape(anchors, -1, *rest), unused, axis=1)
        return by_class[:, 1:].reshape(-1, *rest)
    return array


def used_classes(array: np.ndarray, unused: Sequence[int], *, axis: int = 0) -> np.ndarray:
    """`array` without the `unused` of 91 classes along an axis; for other numbers all of it."""
    return np.delete(array, unused, axis=axis) if array.shape[axis] == 91 else array
