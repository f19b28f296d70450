"""YOLOv2 before it had anchor boxes, on PASCAL VOC07+12 (arXiv:1612.08242, Table 2).

    python -m jaxdet.main --config=configs/yolov2_no_anchors_416_voc.py --workdir=runs/no_anchors \
        --config.data.root=VOCdevkit --config.init_from=darknet19_448.conv.23

Two boxes and one class per cell, as in YOLO, with YOLOv2's network: what is missing is the anchor
boxes of section 2. Published: 69.5 mAP without and 69.2 with them, on VOC2007 test, for networks
that lack the other later parts too. Measured here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs import yolov2_darknet19_416_voc


def get_config() -> ConfigDict:
    """YOLOv2's recipe with the head and the rules of YOLO."""
    config = yolov2_darknet19_416_voc.get_config()
    config.model.head = dict(name="yolov1")
    config.model.detector = dict(name="yolov1")
    return config
