"""SSD300 with VGG16 on COCO 2017 as mmdetection trains it (arXiv:1512.02325).

    python -m jaxdet.main --config=configs/ssd300_coco_mmdet.py --workdir=runs/ssd300_mmdet \
        --config.data.root=coco --config.init_from=vgg16_imagenet.safetensors

Published: 25.5 AP on val2017 (mmdetection, ssd300_coco, trained on train2017). Measured here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs import ssd300_coco


def get_config() -> ConfigDict:
    """mmdetection's recipe: 120 epochs of the 117,266 images that have objects."""
    config = ssd300_coco.get_config()
    config.model.mean = (123.675, 116.28, 103.53)
    config.model.detector.update(clip_anchors="none", clip_detections=True)
    config.data.batch_size = 64
    config.schedule.update(steps=219_888, boundaries=(16 / 24, 22 / 24))
    config.schedule.update(peak=2e-3, warmup=500 / 219_888, warmup_start=1e-3)
    config.evaluation.score_threshold = 0.02
    return config
