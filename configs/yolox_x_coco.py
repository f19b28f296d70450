"""YOLOX-X on COCO 2017 (Ge et al. 2021, arXiv:2107.08430; Megvii-BaseDetection/YOLOX).

    python -m jaxdet.convert --source=yolox --weights=yolox_x.pth \
        --config=configs/yolox_x_coco.py --workdir=runs/yolox_x

Published: AP 51.1 on val2017 and 51.5 on test-dev at 640 pixels (Megvii-BaseDetection/YOLOX,
README). Measured here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs import yolox_s_coco


def get_config() -> ConfigDict:
    """YOLOX-S with more channels and layers."""
    config = yolox_s_coco.get_config()
    config.model.backbone.update(depth=1.33, width=1.25)
    config.model.neck.depth, config.model.head.width = 1.33, 1.25
    return config
