"""Parameter names of github.com/lufficc/SSD, the reference implementation of SSD in PyTorch."""

from collections.abc import Mapping

import numpy as np

from jaxdet.convert.torchvision_names import (
    EFFICIENTNET_B3_BLOCKS,
    VGG16_CONVS,
    mobilenet_v2_block,
    mobilenet_v2_features,
    mobilenet_v3_blocks,
)


def _separable(theirs: str, ours: str) -> dict[str, str]:
    names = {"conv.0": "depthwise", "conv.1": "norm", "conv.3": "pointwise"}
    return {f"{theirs}.{name}": f"{ours}/{part}" for name, part in names.items()}


_HEADS = {"cls_headers": "logits", "reg_headers": "boxes"}

_PLAIN_HEAD = {
    f"box_head.predictor.{theirs}.{i}": f"head/{ours}{i}"
    for theirs, ours in _HEADS.items()
    for i in range(7)
}
_SEPARABLE_HEAD = {
    name: path
    for theirs, ours in _HEADS.items()
    for i in range(6)
    for name, path in _separable(f"box_head.predictor.{theirs}.{i}", f"head/{ours}{i}").items()
}

# lukemelas/EfficientNet-PyTorch, which lufficc's backbone is a copy of.
_efficientnet_narrow = {
    "_depthwise_conv": "depthwise/conv",
    "_bn1": "depthwise/norm",
    "_se_reduce": "squeeze/reduce",
    "_se_expand": "squeeze/expand",
    "_project_conv": "project/conv",
    "_bn2": "project/norm",
}
_efficientnet_wide = {"_expand_conv": "expand/conv", "_bn0": "expand/norm"} | _efficientnet_narrow

_efficientnet_features = {"_conv_stem": "stem/conv", "_bn0": "stem/norm"} | {
    f"_blocks.{number}.{theirs}": f"block{number + 1}/{ours}"
    for number, (stage, _) in enumerate(EFFICIENTNET_B3_BLOCKS)
    for theirs, ours in (_efficientnet_wide if stage else _efficientnet_narrow).items()
}

# SSD300 and SSD512. Extras alternate between 1x1 and larger kernels.
vgg16 = (
    {f"backbone.vgg.{i}": f"backbone/{name}" for i, name in VGG16_CONVS.items()}
    | {"backbone.vgg.31": "backbone/fc6", "backbone.vgg.33": "backbone/fc7"}
    | {f"backbone.extras.{i}": f"neck/conv{8 + i // 2}_{1 + i % 2}" for i in range(10)}
    | {"backbone.l2_norm": "neck/norm4_3"}
    | _PLAIN_HEAD
)

# SSDLite320.
mobilenet_v2 = (
    {f"backbone.{theirs}": f"backbone/{ours}" for theirs, ours in mobilenet_v2_features.items()}
    | {
        f"backbone.extras.{i}.{theirs}": f"neck/block{i + 1}/{ours}"
        for i in range(4)
        for theirs, ours in mobilenet_v2_block.items()
    }
    | _PLAIN_HEAD  # the last level is not separable
    | _SEPARABLE_HEAD
)

_mobilenet_v3_wide = {
    "conv.0": "expand/conv",
    "conv.1": "expand/norm",
    "conv.3": "depthwise/conv",
    "conv.4": "depthwise/norm",
    "conv.7": "project/conv",
    "conv.8": "project/norm",
}
_mobilenet_v3_squeezed = _mobilenet_v3_wide | {
    "conv.5.fc.0": "squeeze/reduce",
    "conv.5.fc.2": "squeeze/expand",
}

# d-li14/mobilenetv3.pytorch, which lufficc's backbone is a copy of.
_mobilenet_v3_features = {"features.0.0": "stem/conv", "features.0.1": "stem/norm"} | {
    f"features.{number}.{theirs}": f"block{number}/{ours}"
    for number, theirs, ours in mobilenet_v3_blocks(
        narrow={
            "conv.0": "depthwise/conv",
            "conv.1": "depthwise/norm",
            "conv.4": "project/conv",
            "conv.5": "project/norm",
        },
        wide=_mobilenet_v3_wide,
        squeezed=_mobilenet_v3_squeezed,
    )
}

# SSDLite320.
mobilenet_v3 = (
    {f"backbone.{theirs}": f"backbone/{ours}" for theirs, ours in _mobilenet_v3_features.items()}
    | {
        "backbone.features.16.0": "backbone/last/conv",
        "backbone.features.16.1": "backbone/last/norm",
    }
    | {
        f"backbone.extras.{i}.{theirs}": f"neck/block{i + 1}/{ours}"
        for i in range(4)
        for theirs, ours in _mobilenet_v3_squeezed.items()
    }
    | _PLAIN_HEAD  # the last level is not separable
    | _SEPARABLE_HEAD
)

# SSD300. The layers of the extras alternate with their ReLUs.
efficientnet_b3 = (
    {f"backbone.{theirs}": f"backbone/{ours}" for theirs, ours in _efficientnet_features.items()}
    | {
        f"backbone.extras.{i}.{layer}": f"neck/conv{i + 1}_{1 + layer // 2}"
        for i in range(3)
        for layer in (0, 2)
    }
    | _PLAIN_HEAD
)

MODELS = {  # by the recipe's family, neck and backbone
    ("ssd", "efficientnet_extras", "efficientnet_b3"): efficientnet_b3,
    ("ssd", "mobilenet_extras", "mobilenet_v2"): mobilenet_v2,
    ("ssd", "mobilenet_v3_extras", "mobilenet_v3"): mobilenet_v3,
    ("ssd", "vgg_extras", "vgg16"): vgg16,
    ("ssd", "vgg_extras_512", "vgg16"): vgg16,
}

# ImageNet classifiers that lufficc starts from and that are not torchvision's.
BACKBONES = {
    "efficientnet_b3": _efficientnet_features | {"_conv_head": None, "_bn1": None, "_fc": None},
    "mobilenet_v3": _mobilenet_v3_features
    | {"conv.0": "last/conv", "conv.1": "last/norm", "classifier.0": None, "classifier.2": None},
}


def rearrange(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns `weights` unchanged: classes and box columns are in our order."""
    return dict(weights)
