"""VGG16 at a quarter of its channels as a classifier of generated pictures, for quickstart_yolov1.

    python -m jaxdet.main --config=configs/quickstart_classifier.py \
        --workdir=runs/quickstart_classifier

YOLO's backbone is a trained classifier (arXiv:1506.02640, section 2.2: on ImageNet). Here half of
what it sees are crops around an object. Published: nothing. Measured here: 89.5 mAP of VOC's
classification task on `shapes_val`, see docs/results.md.
"""

from ml_collections import ConfigDict

from configs import quickstart, yolov1_vgg16_320_voc


def get_config() -> ConfigDict:
    """The quickstart with a classifier of 96 pixels."""
    config = quickstart.get_config()
    config.model = yolov1_vgg16_320_voc.get_config().model
    config.model.size = 96
    config.model.backbone = dict(name="vgg16_features", batch_norm=True, width=0.25)
    config.model.neck = dict(name="extra_convs", channels=())
    config.model.head = dict(name="classifier")
    config.model.detector = dict(name="classifier")
    config.data.batch_size = 32
    config.augment.update(expand_probability=0.0, crop_min_ious=(0.7,))
    config.schedule.update(steps=1000, peak=2e-3)
    config.evaluation.update(metric="voc_classification", score_threshold=0.0)
    return config
