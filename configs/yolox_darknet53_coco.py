"""YOLOX-Darknet53 on COCO 2017 (Ge et al. 2021, arXiv:2107.08430; Megvii-BaseDetection/YOLOX).

    python -m jaxdet.convert --source=yolox --weights=yolox_darknet.pth \
        --config=configs/yolox_darknet53_coco.py --workdir=runs/yolox_darknet53

Published: AP 47.7 on val2017 and 48.0 on test-dev at 640 pixels (Megvii-BaseDetection/YOLOX,
README). Measured here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs import yolox_s_coco


def get_config() -> ConfigDict:
    """YOLOX-S on Darknet-53, with YOLOv3-SPP's neck less its last convolutions."""
    config = yolox_s_coco.get_config()
    common = dict(norm="slow_batch_norm")
    config.model.backbone = dict(name="darknet53", **common)
    del config.model.neck  # its type changes
    spp, fpn = dict(name="spp", input_first=True), dict(name="yolo_fpn", convs=(5, 5, 0))
    config.model.neck = (dict(spp, **common), dict(fpn, last=False, **common))
    config.model.head.update(width=1.0, activation="leaky_relu")
    return config
