"""Parameter names of timm's classifiers (pytorch-image-models), to initialise a backbone from."""

from jaxdet.convert.torchvision_names import (
    EFFICIENTNET_B3_BLOCKS,
    MOBILENET_V2_BLOCKS,
    VGG16_CONVS,
    mobilenet_v3_blocks,
)

_efficientnet_narrow = {
    "conv_dw": "depthwise/conv",
    "bn1": "depthwise/norm",
    "se.conv_reduce": "squeeze/reduce",
    "se.conv_expand": "squeeze/expand",
    "conv_pw": "project/conv",
    "bn2": "project/norm",
}
_efficientnet_wide = {
    "conv_pw": "expand/conv",
    "bn1": "expand/norm",
    "conv_dw": "depthwise/conv",
    "bn2": "depthwise/norm",
    "se.conv_reduce": "squeeze/reduce",
    "se.conv_expand": "squeeze/expand",
    "conv_pwl": "project/conv",
    "bn3": "project/norm",
}

# `tf_efficientnet_b3` has TensorFlow's padding and epsilon, like ours; `efficientnet_b3` has
# PyTorch's, so its outputs differ and it is only an initialisation.
_efficientnet_b3 = {
    "conv_stem": "stem/conv",
    "bn1": "stem/norm",
    **{
        f"blocks.{stage}.{i}.{theirs}": f"block{number}/{ours}"
        for number, (stage, i) in enumerate(EFFICIENTNET_B3_BLOCKS, start=1)
        for theirs, ours in (_efficientnet_wide if stage else _efficientnet_narrow).items()
    },
    "conv_head": None,
    "bn2": None,
    "classifier": None,
}

_mobilenet_v2_narrow = {
    "conv_dw": "depthwise/conv",
    "bn1": "depthwise/norm",
    "conv_pw": "project/conv",
    "bn2": "project/norm",
}
_mobilenet_v2_wide = {
    "conv_pw": "expand/conv",
    "bn1": "expand/norm",
    "conv_dw": "depthwise/conv",
    "bn2": "depthwise/norm",
    "conv_pwl": "project/conv",
    "bn3": "project/norm",
}

# `mobilenetv2_100`.
_mobilenet_v2 = {
    "conv_stem": "stem/conv",
    "bn1": "stem/norm",
    **{
        f"blocks.{stage}.{i}.{theirs}": f"block{number}/{ours}"
        for number, (stage, i) in enumerate(MOBILENET_V2_BLOCKS, start=1)
        for theirs, ours in (_mobilenet_v2_wide if stage else _mobilenet_v2_narrow).items()
    },
    "conv_head": "last/conv",
    "bn2": "last/norm",
    "classifier": None,
}

_mobilenet_v3_squeezed = _mobilenet_v2_wide | {
    "se.conv_reduce": "squeeze/reduce",
    "se.conv_expand": "squeeze/expand",
}
# The stage of every block, and its position there.
_MOBILENET_V3 = [(stage, i) for stage, count in enumerate((1, 2, 3, 4, 2, 3)) for i in range(count)]

# `mobilenetv3_large_100`, trained with squeeze_first=False.
_mobilenet_v3 = {
    "conv_stem": "stem/conv",
    "bn1": "stem/norm",
    **{
        f"blocks.{stage}.{i}.{theirs}": f"block{number}/{ours}"
        for number, theirs, ours in mobilenet_v3_blocks(
            _mobilenet_v2_narrow, _mobilenet_v2_wide, _mobilenet_v3_squeezed
        )
        for stage, i in [_MOBILENET_V3[number - 1]]
    },
    "blocks.6.0.conv": "last/conv",
    "blocks.6.0.bn1": "last/norm",
    "conv_head": None,
    "classifier": None,
}

_vgg16 = {
    **{f"features.{i}": name for i, name in VGG16_CONVS.items()},
    "pre_logits.fc1": "fc6",
    "pre_logits.fc2": "fc7",
    "head.fc": None,
}

BACKBONES = {
    "efficientnet_b3": _efficientnet_b3,
    "mobilenet_v2": _mobilenet_v2,
    "mobilenet_v3": _mobilenet_v3,
    "vgg16": _vgg16,
}
