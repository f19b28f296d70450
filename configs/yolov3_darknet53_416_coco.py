"""YOLOv3 with Darknet-53 on COCO 2017 (Redmon and Farhadi 2018, arXiv:1804.02767).

    python -m jaxdet.main --config=configs/yolov3_darknet53_416_coco.py --workdir=runs/yolov3_coco \
        --config.data.root=coco --config.init_from=darknet53.conv.74

Published: AP 31.0 on test-dev (paper, 416 pixels) and 36.0 on val2017 with the bag of freebies
(GluonCV, 416 pixels). Measured here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs import yolov3_darknet53_416_voc


def get_config() -> ConfigDict:
    """The VOC recipe for 280 epochs, with the ignore threshold of yolov3.cfg."""
    config = yolov3_darknet53_416_voc.get_config()
    config.model.detector.ignore_iou = 0.7
    config.model.detector.class_loss.label_smoothing = 2 / 80
    config.data.update(train="coco_2017_train", eval="coco_2017_val", canvas=640, max_objects=100)
    config.schedule.update(steps=513_000, warmup=1_000 / 513_000)
    config.evaluation.metric = "coco"
    return config
