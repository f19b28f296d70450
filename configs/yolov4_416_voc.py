"""YOLOv4 on PASCAL VOC07+12 (Bochkovskiy et al. 2020, arXiv:2004.10934).

    python -m jaxdet.main --config=configs/yolov4_416_voc.py --workdir=runs/yolov4_voc \
        --config.data.root=VOCdevkit --config.init_from=yolov4.conv.137

Published: 83.6 AP50 on VOC2007 test at 640 pixels after 150 epochs (yjh0410/RT-ODLab, README).
Measured here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs import yolov3_darknet53_416_voc

PRIORS = (  # widths and heights in pixels of 512, fine to coarse (yolov4.cfg)
    ((12, 16), (19, 36), (40, 28)),
    ((36, 75), (76, 55), (72, 146)),
    ((142, 110), (192, 243), (459, 401)),
)


def get_config() -> ConfigDict:
    """YOLOv3's schedule with YOLOv4's network, losses and mosaic; Darknet's momentum."""
    config = yolov3_darknet53_416_voc.get_config()
    config.model.backbone = dict(name="cspdarknet53")
    del config.model.neck  # its type changes
    config.model.neck = (dict(name="spp"), dict(name="pan"))
    config.model.head = dict(name="yolov4")
    config.model.detector = dict(name="yolov4", priors=PRIORS, sensitivity=(1.2, 1.1, 1.05))
    config.model.detector.update(match_iou=0.213, ignore_iou=0.7, ignore_score=0.25)
    config.model.detector.update(box_loss="ciou", box_weight=1.0)
    config.model.detector.class_loss = dict(name="bce", label_smoothing=0.0)
    config.augment.mix = (dict(name="mosaic", probability=0.5),)
    config.optimiser.momentum = 0.949
    config.evaluation.nms = "diou"
    return config
