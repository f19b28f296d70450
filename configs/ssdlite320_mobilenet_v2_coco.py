"""SSDLite320 with MobileNetV2 on COCO 2017, from scratch (arXiv:1801.04381, section 6.2).

    python -m jaxdet.main --config=configs/ssdlite320_mobilenet_v2_coco.py \
        --workdir=runs/ssdlite320_mobilenet_v2 --config.data.root=coco

Published: 21.3 AP on val2017 (mmdetection, ssdlite_mobilenetv2-scratch_8xb24-600e_coco, trained on
train2017). Its initial weights are normal with a deviation of 0.03 (0.001 in the head), ours are
He's and Glorot's. Measured here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs import ssd300_coco


def get_config() -> ConfigDict:
    """mmdetection's recipe."""
    config = ssd300_coco.get_config()
    config.model.update(size=320, mean=(123.675, 116.28, 103.53), scale=(58.395, 57.12, 57.375))
    config.model.backbone = dict(name="mobilenet_v2", norm="slow_batch_norm")
    config.model.neck.name = "ssdlite_extras"
    config.model.head.name = "ssdlite_separable"
    detector = config.model.detector
    detector.strides = (16, 32, 64, 107, 160, 320)
    detector.scales = tuple(side / 320 for side in (48, 100, 150, 202, 253, 304, 320))
    detector.ratios = ((2.0, 3.0),) * 6
    detector.update(clip_anchors="none", clip_detections=True)
    config.data.batch_size = 192
    # 600 epochs of the 117,266 images that have objects.
    config.schedule = dict(name="cosine", steps=366_480, peak=0.015, end=0.0)
    config.schedule.update(warmup=500 / 366_480, warmup_start=1e-3, epochs=0.0)
    config.optimiser.weight_decay = 4e-5
    config.evaluation.score_threshold = 0.02
    return config
