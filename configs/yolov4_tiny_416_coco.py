"""YOLOv4-tiny on COCO 2017 (AlexeyAB/darknet, cfg/yolov4-tiny.cfg; arXiv:2011.08036).

    python -m jaxdet.convert --source=darknet --weights=yolov4-tiny.weights \
        --config=configs/yolov4_tiny_416_coco.py --workdir=runs/yolov4_tiny

Published: AP50 40.2 on test-dev (AlexeyAB/darknet, README). Measured here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs import yolov4_608_coco

PRIORS = (  # (81, 82) is on both levels, (10, 14) on none
    ((23, 27), (37, 58), (81, 82)),
    ((81, 82), (135, 169), (344, 319)),
)


def get_config() -> ConfigDict:
    """Two levels, one anchor per object, and no mosaic."""
    config = yolov4_608_coco.get_config()
    config.model.update(size=416, backbone=dict(name="cspdarknet53_tiny"))
    del config.model.neck  # its type changes
    config.model.neck = dict(name="yolo_fpn", convs=(0, 1))
    config.model.detector.update(priors=PRIORS, spare_priors=((10, 14),), match_iou=1.0)
    config.model.detector.sensitivity = (1.05, 1.05)
    config.augment.mix = ()
    config.schedule.update(steps=2_000_200, peak=2.61e-3, warmup=10 / 20_002)
    config.schedule.boundaries = (16_000 / 20_002, 18_000 / 20_002)
    config.optimiser.momentum = 0.9
    return config
