"""MobileNetV2 with the BatchNorms of mmdetection's SSDLite, which is trained from scratch."""

from functools import partial

from jaxdet.backbones.mobilenet_v2 import MobileNetV2
from jaxdet.layers import BatchNorm

# TensorFlow's object detection API began it; the SSDLites of mmdetection and torchvision follow.
slow_norm = partial(BatchNorm, momentum=0.97, epsilon=1e-3)

mobilenet_v2_mmdet = partial(MobileNetV2, norm=slow_norm)
