"""Parameter names of torchvision's detectors, and of its classifiers, for a backbone.

Here are the SSDs and the classifiers; Faster R-CNN and RetinaNet are in `torchvision_rcnn`.
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from jaxdet.convert import torchvision_rcnn
from jaxdet.convert.torchvision_names import (
    EFFICIENTNET_B3_BLOCKS,
    VGG16_CONVS,
    mobilenet_v2_features,
    mobilenet_v3_features,
    resnet50_layers,
)

_efficientnet_narrow = {
    "0.0": "depthwise/conv",
    "0.1": "depthwise/norm",
    "1.fc1": "squeeze/reduce",
    "1.fc2": "squeeze/expand",
    "2.0": "project/conv",
    "2.1": "project/norm",
}
_efficientnet_wide = {
    "0.0": "expand/conv",
    "0.1": "expand/norm",
    "1.0": "depthwise/conv",
    "1.1": "depthwise/norm",
    "2.fc1": "squeeze/reduce",
    "2.fc2": "squeeze/expand",
    "3.0": "project/conv",
    "3.1": "project/norm",
}

# Trained with PyTorch's padding and epsilon, where ours has TensorFlow's: the outputs differ, so
# this is only an initialisation.
_efficientnet_b3 = {
    "features.0.0": "stem/conv",
    "features.0.1": "stem/norm",
    **{
        f"features.{stage + 1}.{i}.block.{theirs}": f"block{number}/{ours}"
        for number, (stage, i) in enumerate(EFFICIENTNET_B3_BLOCKS, start=1)
        for theirs, ours in (_efficientnet_wide if stage else _efficientnet_narrow).items()
    },
    "features.8.0": None,
    "features.8.1": None,
    "classifier.1": None,
}

_mobilenet_v2 = {**mobilenet_v2_features, "classifier.1": None}

# Trained with squeeze_first=False.
_mobilenet_v3 = {**mobilenet_v3_features, "classifier.0": None, "classifier.3": None}

_vgg16 = {
    **{f"features.{i}": name for i, name in VGG16_CONVS.items()},
    "classifier.0": "fc6",
    "classifier.3": "fc7",
    "classifier.6": None,
}

_vgg16_features = {
    **{f"features.{i}": name for i, name in VGG16_CONVS.items()},
    **{f"classifier.{i}": None for i in (0, 3, 6)},
}

_resnet50 = {**resnet50_layers, "fc": None}

BACKBONES = {  # by the name in the config
    "efficientnet_b3": _efficientnet_b3,
    "mobilenet_v2": _mobilenet_v2,
    "mobilenet_v3": _mobilenet_v3,
    "resnet50": _resnet50,
    "vgg16": _vgg16,
    "vgg16_features": _vgg16_features,
}


def subsample_vgg_classifier(theirs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """VGG16's fully connected layers, subsampled to the convolutions fc6 and fc7 (SSD, section 3).

    They keep every fourth of the 4096 features, and every third row and column of the 7x7 window,
    which dilation then spreads. The names are torchvision's or timm's; weights with neither have
    fc6 and fc7 already.
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


BACKBONE_CHANGES = {"vgg16": [subsample_vgg_classifier]}

_HEADS = {"classification_head": "logits", "regression_head": "boxes"}

_ssd300_vgg16 = {
    "backbone.scale_weight": "neck/norm4_3",
    **{
        f"backbone.features.{i}" if i < 23 else f"backbone.extra.0.{i - 23}": f"backbone/{name}"
        for i, name in VGG16_CONVS.items()
    },
    "backbone.extra.0.7.1": "backbone/fc6",
    "backbone.extra.0.7.3": "backbone/fc7",
    **{
        f"backbone.extra.{i}.{2 * j}": f"neck/conv{7 + i}_{1 + j}"
        for i in range(1, 5)
        for j in range(2)
    },
    **{
        f"head.{theirs}.module_list.{i}": f"head/{ours}{i}"
        for theirs, ours in _HEADS.items()
        for i in range(6)
    },
}


def _in_ssdlite(name: str) -> str:
    """The name in SSDLite of a layer of the classifier, which it splits within block 13."""
    _, number, rest = name.split(".", 2)
    number = int(number)
    if number < 13:
        return f"backbone.features.0.{number}.{rest}"
    if number > 13:
        return f"backbone.features.1.{number - 13}.{rest}"
    part = rest.removeprefix("block.")  # 0 is the expansion
    return (
        f"backbone.features.0.13{part[1:]}" if part[0] == "0" else f"backbone.features.1.0.{part}"
    )


_ssdlite320_mobilenet_v3 = {
    **{_in_ssdlite(theirs): f"backbone/{ours}" for theirs, ours in mobilenet_v3_features.items()},
    **{
        f"backbone.extra.{i}.{j}.{k}": f"neck/down{i + 1}/{part}/{layer}"
        for i in range(4)
        for j, part in enumerate(("narrow", "depthwise", "widen"))
        for k, layer in enumerate(("conv", "norm"))
    },
    **{
        f"head.{theirs}.module_list.{i}.{layer}": f"head/{ours}{i}/{part}"
        for theirs, ours in _HEADS.items()
        for i in range(6)
        for layer, part in (
            ("0.0", "depthwise/conv"),
            ("0.1", "depthwise/norm"),
            ("1", "pointwise"),
        )
    },
}

MODELS = {  # by `build.Recipe.model`
    ("ssd", "ssdlite_extras", "mobilenet_v3"): _ssdlite320_mobilenet_v3,
    ("ssd", "vgg_extras", "vgg16"): _ssd300_vgg16,
    **torchvision_rcnn.TABLES,
}

# Of the 91 category numbers in torchvision's layers, those that COCO's 80 classes do not use.
UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
_LOGITS = re.compile(r"head\.classification_head\.module_list\.(\d+)\.(1\.)?(weight|bias)")


def rearrange(
    weights: Mapping[str, np.ndarray], *, unused: Sequence[int] = UNUSED
) -> dict[str, np.ndarray]:
    """`weights` with only the outputs for COCO's 80 classes and the background, if there are 91.

    torchvision numbers its classes like COCO, 0 (background) to 90; ten of them occur in no image.
    Those were trained to score almost zero; without their logits the softmax spreads that share
    over the remaining classes, which keep their order. Weights for another number of classes keep
    them all; 90 classes of your own cannot be told apart from COCO's, but `unused=()` keeps them.
    Outputs of Faster R-CNN and RetinaNet are reordered: `torchvision_rcnn.rearrange`.
    """
    weights = {
        _as_module(name): _without_unused(name, array, weights, unused)
        for name, array in weights.items()
    }
    return torchvision_rcnn.rearrange(weights, unused)


def _as_module(name: str) -> str:
    """Gives a module name to the one parameter that is not in a module."""
    return "backbone.scale_weight.weight" if name == "backbone.scale_weight" else name


def _without_unused(name, array, weights, unused):
    if not _LOGITS.fullmatch(name):
        return array
    codes = weights[name.replace("classification_head", "regression_head")]  # 4 per anchor
    by_class = array.reshape(len(codes) // 4, -1, *array.shape[1:])  # [anchors, classes, ...]
    by_class = torchvision_rcnn.used_classes(by_class, unused, axis=1)
    return by_class.reshape(-1, *array.shape[1:])
