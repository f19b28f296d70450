"""YOLOv3 with a quarter of its channels on generated images: two CPU cores, no download.

    python -m jaxdet.main --config=configs/quickstart_yolov3.py --workdir=runs/quickstart_yolov3

Published: nothing. Measured here: AP50 80.0 on `shapes_val`, see docs/results.md.
"""

from ml_collections import ConfigDict

from jaxdet.configs import quickstart, yolov3_darknet53_416_voc

# Clusters of the training boxes, as `python -m jaxdet.anchors --config=...` prints them.
PRIORS = (
    ((13.9, 22.4), (19.9, 19.4), (18.1, 31.3)),
    ((28.1, 28.2), (26.1, 44.3), (37.9, 38.2)),
    ((38.3, 63.9), (55.6, 54.3), (65.4, 85.4)),
)


def get_config() -> ConfigDict:
    """The quickstart with the network of `yolov3_darknet53_416_voc`."""
    config = quickstart.get_config()
    config.model = yolov3_darknet53_416_voc.get_config().model
    config.model.size = 160
    config.model.backbone.width = config.model.neck.width = 0.25
    config.model.detector.priors = PRIORS
    config.schedule.update(steps=1500, peak=2e-3, warmup=50 / 1500)
    config.optimiser.clip_norm = 10.0  # the first gradients are fifty times as large as later ones
    return config
