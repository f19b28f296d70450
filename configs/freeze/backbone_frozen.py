"""Freezing 3 of 5: a pre-trained, frozen backbone, including its BatchNorm statistics.

    python -m jaxdet.main --config=configs/freeze/backbone_frozen.py \
        --workdir=runs/freeze/backbone_frozen --config.data.root=VOCdevkit

Published: nothing. Measured here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs.freeze import pretrained


def get_config() -> ConfigDict:
    """As `pretrained`, with the backbone frozen."""
    config = pretrained.get_config()
    config.purpose = "freezing: backbone frozen"
    config.step.frozen = ("backbone",)
    return config
