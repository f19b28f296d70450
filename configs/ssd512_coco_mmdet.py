"""SSD512 with VGG16 on COCO 2017 as mmdetection trains it (arXiv:1512.02325).

    python -m jaxdet.main --config=configs/ssd512_coco_mmdet.py --workdir=runs/ssd512_mmdet \
        --config.data.root=coco --config.init_from=vgg16_imagenet.safetensors

Published: 29.5 AP on val2017 (mmdetection, ssd512_coco, trained on train2017). Measured here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs import ssd300_coco_mmdet, ssd512_coco


def get_config() -> ConfigDict:
    """SSD300's recipe with the maps of SSD512; the default boxes have whole pixels as sides."""
    config = ssd300_coco_mmdet.get_config()
    published = ssd512_coco.get_config().model
    config.model.update(size=published.size, neck=published.neck)
    detector = config.model.detector
    detector.update(strides=published.detector.strides, ratios=published.detector.ratios)
    detector.scales = tuple(side / 512 for side in (20, 51, 133, 215, 296, 378, 460, 542))
    return config
