"""Darknet-19 as a classifier at 448 pixels, on PASCAL VOC07+12 (arXiv:1612.08242, section 2).

    python -m jaxdet.main --config=configs/darknet19_448_classifier_voc.py \
        --workdir=runs/darknet19_448 --config.init_from=darknet19.conv.23
    python -m jaxdet.main --config=configs/yolov2_darknet19_416_voc.py --workdir=runs/yolov2 \
        --config.init_from=runs/darknet19_448

YOLOv2's high-resolution classifier: a backbone trained at 224 is fine-tuned for ten epochs at the
detector's size, and the second command starts from it. The paper uses ImageNet for this; here the
images are those of the detector, and the task is to predict which classes are in them.
Published: nothing. Measured here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs import yolov2_darknet19_416_voc


def get_config() -> ConfigDict:
    """YOLOv2's backbone and rate, without zooming out, evaluated on VOC's classification task."""
    config = yolov2_darknet19_416_voc.get_config()
    config.model.update(size=448, fit="stretch")
    config.model.neck = dict(name="extra_convs", channels=())
    config.model.head = dict(name="classifier")
    config.model.detector = dict(name="classifier")
    config.augment.window.expand_probability = 0.0
    config.augment.colour.swap_probability = 0.0
    config.schedule = dict(name="cosine", steps=2_590, peak=1e-3, end=0.0)
    config.schedule.update(warmup=100 / 2_590, warmup_start=0.1, epochs=0.0)
    config.step.sizes = ()
    config.evaluation.update(metric="voc_classification", score_threshold=0.0)
    return config
