"""YOLOv2 with a quarter of its channels on generated images: two CPU cores, no download.

    python -m jaxdet.main --config=configs/quickstart_yolov2.py --workdir=runs/quickstart_yolov2

Published: nothing. Measured here: AP50 75.0 on `shapes_val`, see docs/results.md.
"""

from ml_collections import ConfigDict

from jaxdet.configs import quickstart, yolov2_darknet19_416_voc

# Clusters of the training boxes, as `python -m jaxdet.anchors --config=...` prints them.
PRIORS = (((22.8, 28.5), (28.4, 41.3), (43.2, 52.0), (57.9, 80.2), (91.8, 113.4)),)


def get_config() -> ConfigDict:
    """The quickstart with the network of `yolov2_darknet19_416_voc`."""
    config = quickstart.get_config()
    config.model = yolov2_darknet19_416_voc.get_config().model
    config.model.size = 224
    config.model.backbone.width = config.model.neck.width = 0.25
    config.model.detector.priors = PRIORS
    config.schedule.update(steps=1200, peak=2e-3, warmup=50 / 1200)
    config.optimiser.clip_norm = 10.0  # the first gradients are fifty times as large as later ones
    return config
