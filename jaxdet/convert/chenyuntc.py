"""Parameter names of github.com/chenyuntc/simple-faster-rcnn-pytorch: Faster R-CNN on VGG16.

Its boxes are y1 x1 y2 x2, and its proposal network has a softmax of two classes. The names are
those without dropout (`use_drop=False`, its default). Weights trained from torchvision's VGG16
expect torchvision's normalisation of RGB; those from Caffe's expect BGR.
"""

from collections.abc import Mapping

import numpy as np

from jaxdet.convert import regions
from jaxdet.convert.torchvision_names import VGG16_CONVS

_vgg16 = {
    **{f"extractor.{i}": f"backbone/{name}" for i, name in VGG16_CONVS.items()},
    "rpn.conv1": "rpn_head/conv1/conv",
    "rpn.score": "rpn_head/logits",
    "rpn.loc": "rpn_head/boxes",
    "head.classifier.0": "roi_head/hidden1",
    "head.classifier.2": "roi_head/hidden2",
    "head.score": "roi_head/logits",
    "head.cls_loc": "roi_head/boxes",
}

# By `build.Recipe.model`.
MODELS = {("faster_rcnn", "rpn", "identity", "vgg16_features"): _vgg16}

_ORDER = [1, 0, 3, 2]  # of x, y, width and height in a code y x h w


def rearrange(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`weights` with codes x y w h, and without boxes for the background.

    One logit of an anchor, the object's minus the background's, has the sigmoid that is the
    softmax of both.
    """
    return {name: _in_our_order(name, array) for name, array in weights.items()}


def _in_our_order(name: str, array: np.ndarray) -> np.ndarray:
    rest = array.shape[1:]
    if name == "head.classifier.0.weight":
        return regions.window(array)
    if name.startswith("rpn.score."):
        both = array.reshape(-1, 2, *rest)  # [anchors, background and object, ...]
        return both[:, 1] - both[:, 0]
    if name.startswith("rpn.loc."):
        return array.reshape(-1, 4, *rest)[:, _ORDER].reshape(array.shape)
    if name.startswith("head.cls_loc."):
        return regions.by_field(array[4:], _ORDER)
    return array
