"""SSD512 with VGG16 on PASCAL VOC07+12 (Liu et al. 2016, arXiv:1512.02325).

    python -m jaxdet.main --config=configs/ssd512_voc.py --workdir=runs/ssd512_voc \
        --config.data.root=VOCdevkit --config.init_from=vgg16_imagenet.safetensors

Published: 79.8 mAP (paper, Table 1) and 80.7 (lufficc/SSD, this recipe) on VOC2007 test, 11-point.
Measured here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs import ssd300_voc


def get_config() -> ConfigDict:
    """SSD300's recipe at 512 pixels, with a seventh map and smaller default boxes."""
    config = ssd300_voc.get_config()
    config.model.size = 512
    config.model.neck.name = "vgg_extras_512"
    detector = config.model.detector
    detector.strides = (8, 16, 32, 64, 128, 256, 512)
    # Footnote 3 of the paper; the last side is 537.65 pixels in all published lists.
    detector.scales = (0.07, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 537.65 / 512)
    detector.ratios = ((2.0,), *((2.0, 3.0),) * 4, (2.0,), (2.0,))
    return config
