"""SSDLite320 with MobileNetV3 on PASCAL VOC07+12 (Howard et al. 2019, arXiv:1905.02244).

    python -m jaxdet.main --config=configs/mobilenet_v3_ssd320_voc.py --workdir=runs/mobilenet_v3 \
        --config.data.root=VOCdevkit --config.init_from=mobilenet_v3_imagenet.safetensors

Published: 69.5 mAP on VOC2007 test, 11-point (lufficc/SSD, this recipe). Measured here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs import mobilenet_v2_ssd320_voc


def get_config() -> ConfigDict:
    """MobileNetV2's recipe with another network."""
    config = mobilenet_v2_ssd320_voc.get_config()
    # False is for ImageNet weights of torchvision and timm; those that lufficc/SSD uses need True.
    config.model.backbone = dict(name="mobilenet_v3", squeeze_first=True)
    config.model.neck.name = "mobilenet_v3_extras"
    return config
