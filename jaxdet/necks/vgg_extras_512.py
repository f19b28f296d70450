"""SSD512's extra maps on VGG16 (Liu et al. 2016, arXiv:1512.02325, section 3.3, footnote 3)."""

from functools import partial

from jaxdet.necks.vgg_extras import VGGExtras

# The last map comes from a 4x4 kernel with padding 1: 2x2 to 1x1.
vgg_extras_512 = partial(
    VGGExtras, rows=((256, 512, 3, 2, 1), *((128, 256, 3, 2, 1),) * 3, (128, 256, 4, 1, 1))
)
