"""SSDLite320 with MobileNetV3 on COCO 2017, from scratch (arXiv:1905.02244, section 6.3).

    python -m jaxdet.main --config=configs/ssdlite320_mobilenet_v3_coco.py \
        --workdir=runs/ssdlite320_mobilenet_v3 --config.data.root=coco

Published: 21.3 AP on val2017 (torchvision, ssdlite320_mobilenet_v3_large, COCO_V1, trained on
train2017 with the 91 classes of which 80 exist). Its initial weights are normal with a deviation
of 0.03, ours are He's and Glorot's. Measured here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs import ssdlite320_mobilenet_v2_coco


def get_config() -> ConfigDict:
    """torchvision's recipe."""
    config = ssdlite320_mobilenet_v2_coco.get_config()
    config.model.update(mean=(127.5,) * 3, scale=(127.5,) * 3)
    config.model.backbone = dict(name="mobilenet_v3", section_6_3=True, squeeze_first=False)
    config.model.backbone.norm = "slow_batch_norm"
    detector = config.model.detector
    detector.strides = (16, 32, 64, 320 / 3, 160, 320)
    detector.scales = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0)
    detector.clip_anchors = "sides"
    config.augment.window.expand_probability = 0.0
    config.augment.colour.update(brightness=0.0, hue=0.0, swap_probability=0.0)
    config.augment.colour.update(contrast=(1.0, 1.0), saturation=(1.0, 1.0))
    # 660 epochs of 610 steps; the first epoch warms up.
    config.schedule.update(steps=402_600, peak=0.15, warmup=1 / 660)
    config.evaluation.update(score_threshold=0.001, iou_threshold=0.55, max_kept=300)
    config.evaluation.candidates = 300
    return config
