"""YOLOv3-SPP with Darknet-53 on COCO 2017 (AlexeyAB/darknet, cfg/yolov3-spp.cfg).

    python -m jaxdet.convert --source=darknet --weights=yolov3-spp.weights \
        --config=configs/yolov3_spp_608_coco.py --workdir=runs/yolov3_spp

Published: AP50 60.6 on test-dev (pjreddie.com/darknet/yolo; AlexeyAB/darknet, README). Measured
here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs import yolov3_darknet53_416_coco


def get_config() -> ConfigDict:
    """YOLOv3 with spatial pyramid pooling; Darknet's rules and rates, images stretched."""
    config = yolov3_darknet53_416_coco.get_config()
    config.model.update(size=608, fit="stretch")
    del config.model.neck  # its type changes
    config.model.neck = (dict(name="spp"), dict(name="yolo_fpn", convs=(5, 5, 0)))
    config.model.detector.ignore_score = 0.25
    config.model.detector.class_loss.label_smoothing = 0.0
    config.augment.mix = ()
    config.schedule = dict(name="step_decay", steps=500_200, epochs=0.0)
    config.schedule.boundaries = (4000 / 5002, 4500 / 5002)
    config.schedule.update(peak=1e-3, factor=0.1, warmup=10 / 5002, warmup_start=1e-3)
    config.evaluation.update(score_threshold=0.001, iou_threshold=0.6)
    return config
