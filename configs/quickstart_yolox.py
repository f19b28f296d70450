"""YOLOX with three sixteenths of its channels on generated images: two CPU cores, no download.

    python -m jaxdet.main --config=configs/quickstart_yolox.py --workdir=runs/quickstart_yolox

Published: nothing. Measured here: AP50 92.1 on `shapes_val`, see docs/results.md.
"""

from ml_collections import ConfigDict

from jaxdet.configs import quickstart, yolox_s_coco


def get_config() -> ConfigDict:
    """The quickstart with the network of `yolox_s_coco`, and L1 in the last third."""
    config = quickstart.get_config()
    config.model = yolox_s_coco.get_config().model
    config.model.size = 160
    config.model.backbone.width = config.model.head.width = 3 / 16
    config.schedule.update(steps=1000, peak=3e-3)
    config.optimiser.clip_norm = 10.0
    config.step.update(ema_decay=0.995, ema_ramp=100, late_losses=("l1",), late_from=2 / 3)
    return config
