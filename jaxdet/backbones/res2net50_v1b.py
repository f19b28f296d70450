"""Res2Net-50 v1b: its authors' stronger form, with the stem and shortcuts of ResNet-D.

Gao et al. 2019, arXiv:1904.01169; He et al. 2018, arXiv:1812.01187, figure 2.
"""

from functools import partial

from jaxdet.backbones.res2net50 import res2net50

res2net50_v1b = partial(res2net50, deep_stem=True, average_shortcut=True)
