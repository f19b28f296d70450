"""YOLOX-Tiny on COCO 2017 (Ge et al. 2021, arXiv:2107.08430; Megvii-BaseDetection/YOLOX).

    python -m jaxdet.convert --source=yolox --weights=yolox_tiny.pth \
        --config=configs/yolox_tiny_coco.py --workdir=runs/yolox_tiny

Published: AP 32.8 on val2017 at 416 pixels (Megvii-BaseDetection/YOLOX, README). Measured here:
no.
"""

from ml_collections import ConfigDict

from jaxdet.configs import yolox_s_coco


def get_config() -> ConfigDict:
    """YOLOX-S at 416 pixels with fewer channels, and augmented less."""
    config = yolox_s_coco.get_config()
    config.model.size = 416
    config.model.backbone.width = config.model.head.width = 0.375
    (mosaic, _) = config.augment.mix
    config.augment.mix = (dict(mosaic, scale=(0.5, 1.5)),)
    config.step.sizes = tuple(range(320, 641, 32))
    return config
