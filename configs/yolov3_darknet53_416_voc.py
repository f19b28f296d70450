"""YOLOv3 with Darknet-53 on PASCAL VOC07+12 (Redmon and Farhadi 2018, arXiv:1804.02767).

    python -m jaxdet.main --config=configs/yolov3_darknet53_416_voc.py --workdir=runs/yolov3 \
        --config.data.root=VOCdevkit --config.init_from=darknet53.conv.74

Published: 83.7 mAP on VOC2007 test at 416 pixels (GluonCV) with the bag of freebies of
arXiv:1902.04103, which are keys here: `label_smoothing`, `augment.mix`, `schedule` (a cosine after
a warm-up), `sizes` and `synchronised`. Measured here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs import ssd300_voc

PRIORS = (  # widths and heights in pixels of 416, fine to coarse (yolov3.cfg)
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)


def get_config() -> ConfigDict:
    """200 epochs with all freebies, and the augmentation of SSD."""
    config = ssd300_voc.get_config()
    config.model.update(size=416, mean=(0.0,) * 3, scale=(255.0,) * 3, fit="letterbox")
    config.model.backbone = dict(name="darknet53")
    config.model.neck = dict(name="yolo_fpn")
    config.model.head = dict(name="yolov3")
    config.model.detector = dict(name="yolov3", priors=PRIORS, ignore_iou=0.5)
    config.model.detector.update(
        box_loss="yolov3", class_loss=dict(name="bce", label_smoothing=2 / 40)
    )
    config.data.batch_size = 64
    config.augment.mix = (dict(name="mixup", alpha=1.5),)
    config.schedule = dict(name="cosine", steps=51_800, peak=1e-3, end=0.0)
    config.schedule.update(warmup=1_000 / 51_800, warmup_start=1e-3, epochs=0.0)
    config.step.sizes = tuple(range(320, 609, 32))
    config.evaluation.score_threshold = 0.005
    return config
