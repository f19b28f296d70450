"""SSD512 with VGG16 on COCO 2017 (Liu et al. 2016, arXiv:1512.02325, section 3.4).

    python -m jaxdet.main --config=configs/ssd512_coco.py --workdir=runs/ssd512_coco \
        --config.data.root=coco --config.init_from=vgg16_imagenet.safetensors

Published: 28.8 AP on COCO test-dev2015 (paper's release), 29.5 on val2017 (mmdetection, its own
schedule). Measured here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs import ssd300_coco, ssd512_voc


def get_config() -> ConfigDict:
    """SSD300's COCO recipe with SSD512's model."""
    config = ssd300_coco.get_config()
    config.model = ssd512_voc.get_config().model
    # Footnote 4 of the paper: 0.04 at conv4_3, then from 0.1.
    config.model.detector.scales = (0.04, 0.1, 0.26, 0.42, 0.58, 0.74, 0.9, 1.06)
    return config
