"""Freezing 1 of 5: nothing pre-trained, nothing frozen (SSDLite320-MobileNetV2 on VOC07+12).

    python -m jaxdet.main --config=configs/freeze/from_scratch.py \
        --workdir=runs/freeze/from_scratch --config.data.root=VOCdevkit

The five recipes differ only in `init_from`, `step` and, in the fifth, `schedule.boundaries`.
Published: nothing. Measured here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs import mobilenet_v2_ssd320_voc


def get_config() -> ConfigDict:
    """MobileNetV2's recipe from random weights."""
    config = mobilenet_v2_ssd320_voc.get_config()
    config.purpose = "freezing: nothing pre-trained"
    return config
