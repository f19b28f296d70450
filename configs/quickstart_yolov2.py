"""YOLOv2 at a quarter of its channels on generated pictures: no download, two CPU cores.

    python -m jaxdet.main --config=configs/quickstart_yolov2.py --workdir=runs/quickstart_yolov2

Published: nothing. Measured here: no.
"""

from ml_collections import ConfigDict

from configs import quickstart, yolov2_darknet19_416_voc

# Clusters of the training boxes, as `python -m jaxdet.anchors --config=...` prints them.
PRIORS = (((26.0, 32.5), (32.5, 47.1), (49.4, 59.4), (66.2, 91.6), (104.9, 129.6)),)


def get_config() -> ConfigDict:
    """The quickstart with the network of `yolov2_darknet19_416_voc`."""
    config = quickstart.get_config()
    config.model = yolov2_darknet19_416_voc.get_config().model
    config.model.size = 256
    config.model.backbone.width = config.model.neck.width = 0.25
    config.model.detector.priors = PRIORS
    return config
