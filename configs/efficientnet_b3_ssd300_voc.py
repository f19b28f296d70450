"""SSD300 with EfficientNet-B3 on PASCAL VOC07+12 (Tan and Le 2019, arXiv:1905.11946).

    python -m jaxdet.main --config=configs/efficientnet_b3_ssd300_voc.py --workdir=runs/b3 \
        --config.data.root=VOCdevkit --config.init_from=efficientnet_b3_imagenet.safetensors

Published: 73.9 mAP on VOC2007 test, 11-point (lufficc/SSD, this recipe). Measured here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs import ssd300_voc


def get_config() -> ConfigDict:
    """SSD300's recipe with another network, smaller batches and a longer schedule."""
    config = ssd300_voc.get_config()
    config.model.backbone = dict(name="efficientnet_b3", drop_connect=0.2)
    config.model.neck.name = "efficientnet_extras"
    config.data.batch_size = 24
    config.schedule.update(steps=160_000, warmup=500 / 160_000)
    config.schedule.boundaries = (105 / 160, 135 / 160)
    return config
