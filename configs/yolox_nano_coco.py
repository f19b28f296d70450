"""YOLOX-Nano on COCO 2017 (Ge et al. 2021, arXiv:2107.08430; Megvii-BaseDetection/YOLOX).

    python -m jaxdet.convert --source=yolox --weights=yolox_nano.pth \
        --config=configs/yolox_nano_coco.py --workdir=runs/yolox_nano

Published: AP 25.8 on val2017 at 416 pixels (Megvii-BaseDetection/YOLOX, README). Measured here:
no.
"""

from ml_collections import ConfigDict

from jaxdet.configs import yolox_tiny_coco


def get_config() -> ConfigDict:
    """YOLOX-Tiny with separable convolutions, and augmented less."""
    config = yolox_tiny_coco.get_config()
    config.model.backbone.update(width=0.25, depthwise=True)
    config.model.neck.depthwise = True
    config.model.head.update(width=0.25, depthwise=True)
    (mosaic,) = config.augment.mix
    config.augment.mix = (dict(mosaic, probability=0.5),)
    return config
