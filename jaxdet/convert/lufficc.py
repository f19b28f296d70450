"""Names of github.com/lufficc/SSD, the reference implementation of SSD in PyTorch."""

from jaxdet.convert.torchvision import VGG16_CONVS, mobilenet_v2_block, mobilenet_v2_features


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
