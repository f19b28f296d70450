"""Parameter names of mmdetection (3.3): SSD on VGG16, SSDLite, and Faster R-CNN on ResNet-50.

Their weights fit the recipes `ssd300_coco_mmdet`, `ssd512_coco_mmdet` and
`ssdlite320_mobilenet_v2_coco`, which use mmdetection's default boxes and pixel normalisation.
Faster R-CNN is `faster-rcnn_r50_fpn` with a backbone in PyTorch's style: strides in the 3x3 layers.
"""

import re
from collections.abc import Mapping

import numpy as np

from jaxdet.convert import regions
from jaxdet.convert.torchvision_names import MOBILENET_V2_BLOCKS, VGG16_CONVS, resnet50_layers


def _conv_norm(theirs: str, ours: str) -> dict[str, str]:
    return {f"{theirs}.conv": f"{ours}/conv", f"{theirs}.bn": f"{ours}/norm"}


def _all(*tables: Mapping[str, str]) -> dict[str, str]:
    return {name: path for table in tables for name, path in table.items()}


_HEADS = {"cls_convs": "logits", "reg_convs": "boxes"}
_BLOCK = {"expand_conv": "expand", "depthwise_conv": "depthwise", "linear_conv": "project"}
_DOWN = {"0": "narrow", "1.depthwise_conv": "depthwise", "1.pointwise_conv": "widen"}

# SSD300, and SSD512, which has one more level.
_vgg16 = {
    **{f"backbone.features.{i}": f"backbone/{name}" for i, name in VGG16_CONVS.items()},
    "backbone.features.31": "backbone/fc6",
    "backbone.features.33": "backbone/fc7",
    "neck.l2_norm": "neck/norm4_3",
    **{
        f"neck.extra_layers.{i}.{j}.conv": f"neck/conv{8 + i}_{1 + j}"
        for i in range(5)
        for j in range(2)
    },
    **{
        f"bbox_head.{theirs}.{i}.0": f"head/{ours}{i}"
        for theirs, ours in _HEADS.items()
        for i in range(7)
    },
}

_mobilenet_v2 = _all(
    _conv_norm("backbone.conv1", "backbone/stem"),
    *(
        _conv_norm(f"backbone.layer{stage + 1}.{i}.{theirs}", f"backbone/block{number}/{ours}")
        for number, (stage, i) in enumerate(MOBILENET_V2_BLOCKS, start=1)
        for theirs, ours in _BLOCK.items()
        if stage or ours != "expand"
    ),
    _conv_norm("backbone.conv2", "backbone/last"),
    *(
        _conv_norm(f"neck.extra_layers.{i}.{theirs}", f"neck/down{i + 1}/{ours}")
        for i in range(4)
        for theirs, ours in _DOWN.items()
    ),
    *(
        _conv_norm(f"bbox_head.{theirs}.{i}.0", f"head/{ours}{i}/depthwise")
        | {f"bbox_head.{theirs}.{i}.1": f"head/{ours}{i}/pointwise"}
        for theirs, ours in _HEADS.items()
        for i in range(6)
    ),
)

_ROI = "roi_head.bbox_head"
_faster_rcnn = {
    **{f"backbone.{theirs}": f"backbone/{ours}" for theirs, ours in resnet50_layers.items()},
    **{f"neck.lateral_convs.{i}.conv": f"neck/lateral{i}/conv" for i in range(4)},
    **{f"neck.fpn_convs.{i}.conv": f"neck/out{i}/conv" for i in range(4)},
    "rpn_head.rpn_conv": "rpn_head/conv1/conv",
    "rpn_head.rpn_cls": "rpn_head/logits",
    "rpn_head.rpn_reg": "rpn_head/boxes",
    f"{_ROI}.shared_fcs.0": "roi_head/hidden1",
    f"{_ROI}.shared_fcs.1": "roi_head/hidden2",
    f"{_ROI}.fc_cls": "roi_head/logits",
    f"{_ROI}.fc_reg": "roi_head/boxes",
}

MODELS = {  # by `build.Recipe.model`
    ("faster_rcnn", "rpn", "fpn", "resnet50"): _faster_rcnn,
    ("ssd", "ssdlite_extras", "mobilenet_v2"): _mobilenet_v2,
    ("ssd", "vgg_extras", "vgg16"): _vgg16,
    ("ssd", "vgg_extras_512", "vgg16"): _vgg16,
}

_LOGITS = re.compile(r"bbox_head\.cls_convs\.\d+\.[01]\.(weight|bias)")


def rearrange(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`weights` with the background, which is last in mmdetection's logits, moved to the front.

    The default boxes of a cell are in our order: squares, then a wide and a tall box per ratio.
    Faster R-CNN's box of every class, of which the background has none, is ordered as ours.
    """
    return {name: _in_our_order(name, array, weights) for name, array in weights.items()}


def _in_our_order(name: str, array: np.ndarray, weights: Mapping[str, np.ndarray]) -> np.ndarray:
    if name == f"{_ROI}.shared_fcs.0.weight":
        return regions.window(array)
    if name.startswith(f"{_ROI}.fc_reg."):
        return regions.by_field(array)
    if name.startswith(f"{_ROI}.fc_cls."):
        return np.roll(array, 1, axis=0)
    if not _LOGITS.fullmatch(name):
        return array
    codes = weights[name.replace("cls_convs", "reg_convs")]  # 4 per anchor
    by_class = array.reshape(len(codes) // 4, -1, *array.shape[1:])  # [anchors, classes + 1, ...]
    return np.roll(by_class, 1, axis=1).reshape(array.shape)
