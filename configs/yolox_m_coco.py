"""YOLOX-M on COCO 2017 (Ge et al. 2021, arXiv:2107.08430; Megvii-BaseDetection/YOLOX).

    python -m jaxdet.convert --source=yolox --weights=yolox_m.pth \
        --config=configs/yolox_m_coco.py --workdir=runs/yolox_m

Published: AP 46.9 on val2017 and 47.2 on test-dev at 640 pixels (Megvii-BaseDetection/YOLOX,
README). Measured here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs import yolox_s_coco


def get_config() -> ConfigDict:
    """YOLOX-S with more channels and layers."""
    config = yolox_s_coco.get_config()
    config.model.backbone.update(depth=0.67, width=0.75)
    config.model.neck.depth, config.model.head.width = 0.67, 0.75
    return config
