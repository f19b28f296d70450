"""Parameter names of github.com/amdegroot/ssd.pytorch, with the authors' Caffe weights.

`ssd300_mAP_77.43_v2.pth` fits the recipe `ssd300_voc`; `vgg16_reducedfc.pth`, which SSD's training
starts from, is a backbone. Both expect RGB minus (123, 117, 104), and default boxes like ours.
"""

from collections.abc import Mapping

import numpy as np

from jaxdet.convert.torchvision_names import VGG16_CONVS

_LAYERS = {**VGG16_CONVS, 31: "fc6", 33: "fc7"}  # position -> the paper's name

_ssd300 = {
    **{f"vgg.{i}": f"backbone/{name}" for i, name in _LAYERS.items()},
    "L2Norm": "neck/norm4_3",
    **{f"extras.{i}": f"neck/conv{8 + i // 2}_{1 + i % 2}" for i in range(8)},
    **{f"conf.{i}": f"head/logits{i}" for i in range(6)},
    **{f"loc.{i}": f"head/boxes{i}" for i in range(6)},
}

MODELS = {("ssd", "vgg_extras", "vgg16"): _ssd300}  # by the recipe's family, neck and backbone

BACKBONES = {"vgg16": {str(i): name for i, name in _LAYERS.items()}}


def rearrange(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns `weights` unchanged: the background is first, and every order is ours."""
    return dict(weights)
