"""VGG16 with a quarter of its channels, classifying generated images, for quickstart_yolov1.

    python -m jaxdet.main --config=configs/quickstart_classifier.py \
        --workdir=runs/quickstart_classifier

YOLO's backbone is a trained classifier (arXiv:1506.02640, section 2.2: on ImageNet). This one sees
whole images, and crops around a large object. Published: nothing. Measured here: 89.5
mAP of VOC's classification task on `shapes_val`, see docs/results.md.
"""

from ml_collections import ConfigDict

from jaxdet.configs import quickstart_yolov1


def get_config() -> ConfigDict:
    """The backbone and the data of `quickstart_yolov1`, at 96 pixels."""
    config = quickstart_yolov1.get_config()
    config.model.size = 96
    config.model.neck = dict(name="extra_convs", channels=())
    config.model.head = dict(name="classifier")
    config.model.detector = dict(name="classifier")
    config.data.batch_size = 32
    config.augment.window.update(expand_probability=0.0, crop_min_ious=(0.7,))
    config.schedule.update(steps=1000, warmup=0.05)
    config.optimiser.clip_norm = 0.0
    config.evaluation.update(metric="voc_classification", score_threshold=0.0)
    return config
