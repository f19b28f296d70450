"""YOLOX-S on COCO 2017 (Ge et al. 2021, arXiv:2107.08430; Megvii-BaseDetection/YOLOX).

    python -m jaxdet.convert --source=yolox --weights=yolox_s.pth \
        --config=configs/yolox_s_coco.py --workdir=runs/yolox_s

Published: AP 40.5 on val2017 and 40.5 on test-dev at 640 pixels (Megvii-BaseDetection/YOLOX,
README). Measured here: no.
"""

from ml_collections import ConfigDict

from configs import ssd300_coco

STEPS_PER_EPOCH = 1849  # 118,287 photos in batches of 64


def get_config() -> ConfigDict:
    """300 epochs, of which the last 15 are without mosaic and mixup."""
    config = ssd300_coco.get_config()
    config.model.update(size=640, mean=(0.0,) * 3, scale=(1.0,) * 3, fit="top_left")
    config.model.backbone = dict(name="csp_darknet", depth=0.33, width=0.5, depthwise=False)
    config.model.neck = dict(name="csp_pan", depth=0.33, depthwise=False)
    config.model.head = dict(name="yolox", width=0.5, depthwise=False)
    config.model.detector = dict(name="yolox", assignment="released")
    del config.evaluation.nms  # its type changes
    config.evaluation.nms = dict(name="greedy", best_class=True)
    config.evaluation.update(score_threshold=0.001, iou_threshold=0.65)
    return config
