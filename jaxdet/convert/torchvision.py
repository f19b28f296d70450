"""Parameter names of torchvision's SSDs, and of its classifiers, to initialise a backbone from."""

import re
from collections.abc import Mapping

import numpy as np

Names = Mapping[str, str]  # their name for a layer -> ours

VGG16_CONVS = {  # position in `features` of torchvision's vgg16 -> the paper's name
    0: "conv1_1",
    2: "conv1_2",
    5: "conv2_1",
    7: "conv2_2",
    10: "conv3_1",
    12: "conv3_2",
    14: "conv3_3",
    17: "conv4_1",
    19: "conv4_2",
    21: "conv4_3",
    24: "conv5_1",
    26: "conv5_2",
    28: "conv5_3",
}

# The stage of every block of MobileNetV2, and its position there, from 0. Stage 0 does not expand.
MOBILENET_V2_BLOCKS = [
    (stage, i) for stage, count in enumerate((1, 2, 3, 4, 3, 3, 1)) for i in range(count)
]

mobilenet_v2_block = {  # within an inverted residual with an expansion
    "conv.0.0": "expand/conv",
    "conv.0.1": "expand/norm",
    "conv.1.0": "depthwise/conv",
    "conv.1.1": "depthwise/norm",
    "conv.2": "project/conv",
    "conv.3": "project/norm",
}

mobilenet_v2_features = {
    "features.0.0": "stem/conv",
    "features.0.1": "stem/norm",
    "features.1.conv.0.0": "block1/depthwise/conv",
    "features.1.conv.0.1": "block1/depthwise/norm",
    "features.1.conv.1": "block1/project/conv",
    "features.1.conv.2": "block1/project/norm",
    **{
        f"features.{i}.{theirs}": f"block{i}/{ours}"
        for i in range(2, 18)
        for theirs, ours in mobilenet_v2_block.items()
    },
    "features.18.0": "last/conv",
    "features.18.1": "last/norm",
}

# The same for EfficientNet-B3. Stage 0 does not expand.
EFFICIENTNET_B3_BLOCKS = [
    (stage, i) for stage, count in enumerate((2, 3, 3, 5, 5, 6, 2)) for i in range(count)
]

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


def mobilenet_v3_blocks(narrow: Names, wide: Names, squeezed: Names) -> list[tuple[int, str, str]]:
    """(block number, their name, our name) of every layer in the blocks of MobileNetV3.

    The first block does not expand; those with squeeze-and-excite are as in the paper's table 1.
    """
    kinds = [narrow, *[wide] * 2, *[squeezed] * 3, *[wide] * 4, *[squeezed] * 5]
    return [
        (number, theirs, ours)
        for number, names in enumerate(kinds, start=1)
        for theirs, ours in names.items()
    ]


_mobilenet_v3_widening = {
    "0.0": "expand/conv",
    "0.1": "expand/norm",
    "1.0": "depthwise/conv",
    "1.1": "depthwise/norm",
}
_mobilenet_v3_features = {
    "features.0.0": "stem/conv",
    "features.0.1": "stem/norm",
    **{
        f"features.{number}.block.{theirs}": f"block{number}/{ours}"
        for number, theirs, ours in mobilenet_v3_blocks(
            narrow={
                "0.0": "depthwise/conv",
                "0.1": "depthwise/norm",
                "1.0": "project/conv",
                "1.1": "project/norm",
            },
            wide=_mobilenet_v3_widening | {"2.0": "project/conv", "2.1": "project/norm"},
            squeezed=_mobilenet_v3_widening
            | {
                "2.fc1": "squeeze/reduce",
                "2.fc2": "squeeze/expand",
                "3.0": "project/conv",
                "3.1": "project/norm",
            },
        )
    },
    "features.16.0": "last/conv",
    "features.16.1": "last/norm",
}

_mobilenet_v2 = {**mobilenet_v2_features, "classifier.1": None}

# Trained with squeeze_first=False.
_mobilenet_v3 = {**_mobilenet_v3_features, "classifier.0": None, "classifier.3": None}

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

# timm's `resnet50` has the same names.
_resnet50 = {
    "conv1": "stem/conv",
    "bn1": "stem/norm",
    **{
        f"layer{stage}.{i}.{theirs}{j}": f"block{stage}_{i + 1}/conv{j}/{ours}"
        for stage, count in enumerate((3, 4, 6, 3), start=1)
        for i in range(count)
        for j in (1, 2, 3)
        for theirs, ours in (("conv", "conv"), ("bn", "norm"))
    },
    **{
        f"layer{stage}.0.downsample.{i}": f"block{stage}_1/shortcut/{ours}"
        for stage in (1, 2, 3, 4)
        for i, ours in enumerate(("conv", "norm"))
    },
    "fc": None,
}

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
    **{_in_ssdlite(theirs): f"backbone/{ours}" for theirs, ours in _mobilenet_v3_features.items()},
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

MODELS = {  # by the recipe's family, neck and backbone
    ("ssd", "ssdlite_extras", "mobilenet_v3"): _ssdlite320_mobilenet_v3,
    ("ssd", "vgg_extras", "vgg16"): _ssd300_vgg16,
}

# Of the 91 category numbers in torchvision's layers, those that COCO's 80 classes do not use.
_UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
_LOGITS = re.compile(r"head\.classification_head\.module_list\.(\d+)\.(1\.)?(weight|bias)")


def rearrange(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`weights` with only the logits of COCO's 80 classes and the background, if there are 91.

    torchvision numbers its classes like COCO, 0 (background) to 90; ten of them occur in no image.
    Those were trained to score almost zero; without their logits the softmax spreads that share
    over the remaining classes, which keep their order. Weights for another number of classes are
    unchanged; 90 classes of your own cannot be told apart from COCO's.
    """
    return {
        _as_module(name): _without_unused(name, array, weights) for name, array in weights.items()
    }


def _as_module(name: str) -> str:
    """Gives a module name to the one parameter that is not in a module."""
    return "backbone.scale_weight.weight" if name == "backbone.scale_weight" else name


def _without_unused(name: str, array: np.ndarray, weights: Mapping[str, np.ndarray]) -> np.ndarray:
    if not _LOGITS.fullmatch(name):
        return array
    codes = weights[name.replace("classification_head", "regression_head")]  # 4 per anchor
    by_class = array.reshape(len(codes) // 4, -1, *array.shape[1:])  # [anchors, classes, ...]
    if by_class.shape[1] != 91:
        return array
    return np.delete(by_class, _UNUSED, axis=1).reshape(-1, *array.shape[1:])
