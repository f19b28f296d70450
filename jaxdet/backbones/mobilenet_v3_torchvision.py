"""MobileNetV3 as torchvision's SSDLite has it: the paper's section 6.3, and slower BatchNorms."""

from functools import partial

from jaxdet.backbones.mobilenet_v3 import MobileNetV3
from jaxdet.layers import slow_norm

mobilenet_v3_torchvision = partial(
    MobileNetV3, section_6_3=True, squeeze_first=False, norm=slow_norm
)
