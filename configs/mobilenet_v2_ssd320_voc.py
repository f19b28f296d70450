"""SSDLite320 with MobileNetV2 on PASCAL VOC07+12 (Sandler et al. 2018, arXiv:1801.04381, sec. 6.2).

    python -m jaxdet.main --config=configs/mobilenet_v2_ssd320_voc.py --workdir=runs/mobilenet_v2 \
        --config.data.root=VOCdevkit --config.init_from=mobilenet_v2_imagenet.safetensors

Published: 68.9 mAP on VOC2007 test, 11-point (lufficc/SSD, this recipe).
Measured here: on 1,500 images only, see docs/results.md.
"""

from ml_collections import ConfigDict

from jaxdet.configs import ssd300_voc


def get_config() -> ConfigDict:
    """SSD300's recipe with another network and its default boxes."""
    config = ssd300_voc.get_config()
    config.model.size = 320
    config.model.backbone.name = "mobilenet_v2"
    config.model.neck.name = "mobilenet_extras"
    config.model.head.name = "ssdlite"
    detector = config.model.detector
    detector.strides = (16, 32, 64, 107, 160, 320)
    detector.scales = (0.1875, 0.328125, 0.46875, 0.609375, 0.75, 0.890625, 1.03125)
    detector.ratios = ((2.0, 3.0),) * 6
    return config
