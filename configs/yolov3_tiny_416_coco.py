"""YOLOv3-tiny on COCO 2017 (github.com/pjreddie/darknet, cfg/yolov3-tiny.cfg).

    python -m jaxdet.convert --source=darknet --weights=yolov3-tiny.weights \
        --config=configs/yolov3_tiny_416_coco.py --workdir=runs/yolov3_tiny

Published: AP50 33.1 on test-dev (AlexeyAB/darknet, README). Measured here: no training; the
published weights on 100 photos of val2017, see docs/results.md.
"""

from ml_collections import ConfigDict

from jaxdet.configs import yolov3_darknet53_416_coco

PRIORS = (  # the published weights have the first three at stride 16, not the second to fourth
    ((10, 14), (23, 27), (37, 58)),
    ((81, 82), (135, 169), (344, 319)),
)


def get_config() -> ConfigDict:
    """Darknet's rules and rates, with the augmentation of SSD."""
    config = yolov3_darknet53_416_coco.get_config()
    config.model.update(backbone=dict(name="darknet_tiny"))
    config.model.neck = dict(name="yolo_fpn", convs=(0, 1))
    config.model.detector.update(priors=PRIORS, ignore_score=0.25, fill=(127.5,) * 3)
    config.model.detector.class_loss.label_smoothing = 0.0
    config.augment.mix = ()
    config.schedule = dict(name="step_decay", steps=500_200, epochs=0.0)
    config.schedule.boundaries = (4000 / 5002, 4500 / 5002)
    config.schedule.update(peak=1e-3, factor=0.1, warmup=10 / 5002, warmup_start=1e-3)
    return config
