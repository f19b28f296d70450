"""Freezing 4 of 5: a pre-trained backbone, and everything but the detection layers frozen.

    python -m jaxdet.main --config=configs/freeze/detection_layers_only.py \
        --workdir=runs/freeze/detection_layers_only --config.data.root=VOCdevkit

The neck keeps its random weights, so the coarser maps are random features.
Published: nothing. Measured here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs.freeze import pretrained


def get_config() -> ConfigDict:
    """As `pretrained`, with everything but the head frozen."""
    config = pretrained.get_config()
    config.purpose = "freezing: detection layers only"
    config.step.frozen = ("backbone", "neck")
    return config
