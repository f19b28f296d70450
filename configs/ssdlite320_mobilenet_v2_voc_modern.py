"""SSDLite320 with MobileNetV2 on VOC07+12, with what the study of parts found to help.

    python -m jaxdet.main --config=configs/ssdlite320_mobilenet_v2_voc_modern.py \
        --workdir=runs/ssdlite_modern --config.data.root=VOCdevkit \
        --config.init_from=mobilenet_v2_imagenet.safetensors

Published: nothing; it should beat the 68.9 mAP of `mobilenet_v2_ssd320_voc` on VOC2007 test.
Measured here: on 1,500 images only, see docs/study.md, which has the reason for each key.
"""

from ml_collections import ConfigDict

from jaxdet.configs import mobilenet_v2_ssd320_voc, ssd300_voc_modern


def get_config() -> ConfigDict:
    """The classic recipe, changed as SSD300's is; a higher rate, as there is BatchNorm."""
    config = ssd300_voc_modern.modern(mobilenet_v2_ssd320_voc.get_config())
    config.schedule.peak = 1e-3
    return config
