"""SSD300 with VGG16 on COCO 2017 (Liu et al. 2016, arXiv:1512.02325, section 3.4).

    python -m jaxdet.main --config=configs/ssd300_coco.py --workdir=runs/ssd300_coco \
        --config.data.root=coco --config.init_from=vgg16_imagenet.safetensors

Published: 25.1 AP on COCO test-dev2015 (paper's release), 25.5 on val2017 (mmdetection, its own
schedule). Measured here: a few steps, see docs/results.md.
"""

from ml_collections import ConfigDict

from jaxdet.configs import ssd300_voc


def get_config() -> ConfigDict:
    """The VOC recipe with smaller boxes and a longer schedule."""
    config = ssd300_voc.get_config()
    config.model.detector.scales = (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)
    config.data.train, config.data.eval = "coco_2017_train", "coco_2017_val"
    config.data.canvas, config.data.max_objects = 640, 100
    config.schedule.update(steps=400_000, boundaries=(0.7, 0.9), warmup=500 / 400_000)
    config.evaluation.metric = "coco"
    config.evaluation.max_kept = 200
    return config
