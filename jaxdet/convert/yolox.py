"""Parameter names of github.com/Megvii-BaseDetection/YOLOX, of all seven sizes.

The weights published since version 0.1.1 take pixels as OpenCV reads them, blue first, in 0 to 255.
"""

from collections.abc import Mapping

import numpy as np

_LEVELS = range(3)
_MOST_BLOCKS = 12  # of a stage, in YOLOX-X


def _conv(theirs: str, ours: str) -> dict[str, str]:
    return {f"{theirs}.conv": f"{ours}/conv", f"{theirs}.bn": f"{ours}/norm"}


def _spatial(theirs: str, ours: str) -> dict[str, str]:
    """A 3x3 convolution: plain, or separable in YOLOX-Nano."""
    separable = (("dconv", "depthwise"), ("pconv", "pointwise"))
    table = _conv(theirs, ours)
    for part, layer in separable:
        table |= _conv(f"{theirs}.{part}", f"{ours}/{layer}")
    return table


def _csp(theirs: str, ours: str) -> dict[str, str]:
    table = {}
    for i in (1, 2, 3):
        table |= _conv(f"{theirs}.conv{i}", f"{ours}/conv{i}")
    for i in range(_MOST_BLOCKS):
        table |= _conv(f"{theirs}.m.{i}.conv1", f"{ours}/block{i + 1}/conv1")
        table |= _spatial(f"{theirs}.m.{i}.conv2", f"{ours}/block{i + 1}/conv2")
    return table


def _head() -> dict[str, str]:
    table = {}
    for i in _LEVELS:
        table |= _conv(f"head.stems.{i}", f"head/stem{i}")
        for theirs, ours in (("cls", "logits"), ("reg", "boxes")):
            for j in (0, 1):
                layer = f"head/{ours}_conv{i}_{j + 1}"
                table |= _spatial(f"head.{theirs}_convs.{i}.{j}", layer)
        for theirs, ours in (("cls", "logits"), ("reg", "boxes"), ("obj", "objectness")):
            table[f"head.{theirs}_preds.{i}"] = f"head/{ours}{i}"
    return table


def _csp_darknet() -> dict[str, str]:
    """Backbone and neck of Nano to X."""
    table = _conv("backbone.backbone.stem.conv", "backbone/stem")
    for i in (2, 3, 4, 5):
        table |= _spatial(f"backbone.backbone.dark{i}.0", f"backbone/down{i}")
        table |= _csp(f"backbone.backbone.dark{i}.{2 if i == 5 else 1}", f"backbone/stage{i}")
    for i in (1, 2):
        table |= _conv(f"backbone.backbone.dark5.1.conv{i}", f"backbone/spp/conv{i}")
    for theirs, ours in (("lateral_conv0", "up1"), ("reduce_conv1", "up0")):
        table |= _conv(f"backbone.{theirs}", f"neck/{ours}")
    for theirs, ours in (("bu_conv2", "down1"), ("bu_conv1", "down2")):
        table |= _spatial(f"backbone.{theirs}", f"neck/{ours}")
    layers = {"C3_p4": "topdown1", "C3_p3": "topdown0", "C3_n3": "bottomup1", "C3_n4": "bottomup2"}
    for theirs, ours in layers.items():
        table |= _csp(f"backbone.{theirs}", f"neck/{ours}")
    return table


def _darknet53() -> dict[str, str]:
    """Backbone and neck of YOLOX-Darknet53, whose first stage is called the stem."""
    table = _conv("backbone.backbone.stem.0", "backbone/stem")
    stages = [f"backbone.backbone.{name}" for name in ("stem", "dark2", "dark3", "dark4", "dark5")]
    for stage, (name, blocks) in enumerate(zip(stages, (1, 2, 8, 8, 4), strict=True), start=1):
        first = 1 if stage == 1 else 0
        table |= _conv(f"{name}.{first}", f"backbone/down{stage}")
        for i in range(1, blocks + 1):
            for theirs, ours in (("layer1", "narrow"), ("layer2", "widen")):
                table |= _conv(f"{name}.{first + i}.{theirs}", f"backbone/block{stage}_{i}/{ours}")
    for i, theirs in enumerate(("5", "6", "7.conv1", "7.conv2", "8", "9"), start=1):
        table |= _conv(f"backbone.backbone.dark5.{theirs}", f"neck/spp/conv{i}")
    for theirs, level in (("out1", 1), ("out2", 0)):
        table |= _conv(f"backbone.{theirs}_cbl", f"neck/yolo_fpn/up{level}")
        for i in range(5):
            table |= _conv(f"backbone.{theirs}.{i}", f"neck/yolo_fpn/conv{level}_{i + 1}")
    return table


MODELS = {  # by `build.Recipe.model`
    ("yolox", "csp_pan", "csp_darknet"): {**_csp_darknet(), **_head()},
    ("yolox", "spp+yolo_fpn", "darknet53"): {**_darknet53(), **_head()},
}

_FIRST = ("backbone.backbone.stem.conv.conv.weight", "backbone.backbone.stem.0.conv.weight")


def rearrange(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`weights` with the channels that the first layer sees as RGB: one pixel's, or of four."""
    return {name: _blue_last(array) if name in _FIRST else array for name, array in weights.items()}


def _blue_last(kernel: np.ndarray) -> np.ndarray:
    by_pixel = kernel.reshape(len(kernel), -1, 3, *kernel.shape[2:])
    return by_pixel[:, :, ::-1].reshape(kernel.shape)
