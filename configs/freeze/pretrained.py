"""Freezing 2 of 5: a pre-trained backbone, nothing frozen.

    python -m jaxdet.main --config=configs/freeze/pretrained.py \
        --workdir=runs/freeze/pretrained --config.data.root=VOCdevkit

`mobilenet_v2_imagenet.safetensors` holds torchvision's or timm's ImageNet weights.
Published: nothing. Measured here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs.freeze import from_scratch


def get_config() -> ConfigDict:
    """As `from_scratch`, with an ImageNet backbone."""
    config = from_scratch.get_config()
    config.purpose = "freezing: pre-trained, nothing frozen"
    config.init_from = "mobilenet_v2_imagenet.safetensors"
    return config
