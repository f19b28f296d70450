"""Names of torchvision's classifiers, to begin a backbone from their ImageNet weights."""

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

mobilenet_v2_block = {  # within an inverted residual that widens first
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

_mobilenet_v2 = {**mobilenet_v2_features, "classifier.1": None}

_vgg16 = {
    **{f"features.{i}": name for i, name in VGG16_CONVS.items()},
    "classifier.0": "fc6",
    "classifier.3": "fc7",
    "classifier.6": None,
    # The file vgg16_reducedfc, which SSD's authors began from, has plain numbers.
    **{str(i): name for i, name in VGG16_CONVS.items()},
    "31": "fc6",
    "33": "fc7",
}

BACKBONES = {"mobilenet_v2": _mobilenet_v2, "vgg16": _vgg16}  # by the name in the config
