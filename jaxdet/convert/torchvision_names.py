"""Names of layers in torchvision's classifiers, of which the tables of several sources are made."""

from collections.abc import Mapping

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
mobilenet_v3_features = {
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

# timm's `resnet50` has the same names.
resnet50_layers = {
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
}
