"""Res2Net-50, 26w x 4s (Gao et al. 2019, arXiv:1904.01169, section 3 and table 1)."""

from functools import partial

from jaxdet.backbones.resnet50 import ResNet

res2net50 = partial(ResNet, blocks=(3, 4, 6, 3), scales=4, base_width=26)
