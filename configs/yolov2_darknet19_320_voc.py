"""YOLOv2 with Darknet-19 at 320 pixels, one size only, on PASCAL VOC07+12 (arXiv:1612.08242).

    python -m jaxdet.main --config=configs/yolov2_darknet19_320_voc.py --workdir=runs/yolov2_320 \
        --config.data.root=VOCdevkit --config.init_from=darknet19_448.conv.23

Published: 69.0 mAP at 288 and 73.7 at 352 on VOC2007 test, of the network that is trained on many
sizes (paper, Table 3). Measured here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs import yolov2_darknet19_416_voc


def get_config() -> ConfigDict:
    """The recipe for 416 pixels without its multi-scale training."""
    config = yolov2_darknet19_416_voc.get_config()
    config.model.size = 320
    config.step.sizes = ()
    return config
