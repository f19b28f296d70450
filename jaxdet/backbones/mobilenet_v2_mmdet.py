"""MobileNetV2 with the BatchNorms of mmdetection's SSDLite, which is trained from scratch."""

from functools import partial

from jaxdet.backbones.mobilenet_v2 import MobileNetV2
from jaxdet.layers import slow_norm

mobilenet_v2_mmdet = partial(MobileNetV2, norm=slow_norm)
