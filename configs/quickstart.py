"""A small SSD on generated images: the whole pipeline on two CPU cores, without a download.

    python -m jaxdet.main --config=configs/quickstart.py --workdir=runs/quickstart

Published: nothing. Measured here: AP50 (mAP at IoU 0.5) 91.6 on `shapes_val` in under four minutes,
see docs/results.md.
"""

from ml_collections import ConfigDict

from jaxdet.configs import ssd300_voc


def get_config() -> ConfigDict:
    """SSD's recipe with a network of nine convolutions."""
    config = ssd300_voc.get_config()
    config.model.update(size=160, mean=(128.0,) * 3, scale=(64.0,) * 3)
    config.model.backbone = dict(name="plain", channels=(16, 32, 64, 96, 128))
    config.model.neck = dict(name="extra_convs", channels=(128,))
    detector = config.model.detector
    detector.update(strides=(8, 16, 32, 64), scales=(0.1, 0.2, 0.4, 0.6, 0.8))
    detector.ratios = ((2.0,),) * 4
    config.data.update(train="shapes_train", eval="shapes_val", canvas=320, max_objects=32)
    config.data.batch_size = 16
    config.schedule = dict(name="cosine", steps=1150, peak=4e-3, end=0.0)
    config.schedule.update(warmup=50 / 1150, warmup_start=0.1, epochs=0.0)
    config.optimiser = dict(name="adamw", weight_decay=1e-4, clip_norm=0.0)
    config.augment.window.update(expand_max=1.5, crop_min_ious=())
    config.augment.colour.swap_probability = 0.0
    config.evaluation.metric = "coco"
    config.every.update(log=20, picture=300, checkpoint=300, evaluation=750)
    return config
