"""YOLOX-L on COCO 2017 (Ge et al. 2021, arXiv:2107.08430; Megvii-BaseDetection/YOLOX).

    python -m jaxdet.convert --source=yolox --weights=yolox_l.pth \
        --config=configs/yolox_l_coco.py --workdir=runs/yolox_l

Published: AP 49.7 on val2017 and 50.1 on test-dev at 640 pixels (Megvii-BaseDetection/YOLOX,
README). Measured here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs import yolox_s_coco


def get_config() -> ConfigDict:
    """YOLOX-S with more channels and layers."""
    config = yolox_s_coco.get_config()
    config.model.backbone.update(depth=1.0, width=1.0)
    config.model.neck.depth, config.model.head.width = 1.0, 1.0
    return config
