"""Freezing 5 of 5: the backbone frozen for 20 epochs, then trained at a tenth of the rate.

    python -m jaxdet.main --config=configs/freeze/then_unfrozen.py \
        --workdir=runs/freeze/then_unfrozen --config.data.root=VOCdevkit

An epoch of VOC07+12 is 518 steps of 32 images.
Published: nothing. Measured here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs.freeze import backbone_frozen


def get_config() -> ConfigDict:
    """As `backbone_frozen` until step 10,360."""
    config = backbone_frozen.get_config()
    config.purpose = "freezing: backbone frozen, then not"
    config.step.unfreeze_at = 20 * 518
    config.schedule.boundaries = (20 * 518, 2 / 3, 5 / 6)
    return config
