"""A small Faster R-CNN on generated images, on two CPU cores, without a download.

    python -m jaxdet.main --config=configs/quickstart_faster_rcnn.py --workdir=runs/quickstart

Published: nothing. Measured here: AP50 94.9 on `shapes_val`, see docs/results.md.
"""

from ml_collections import ConfigDict

from jaxdet.configs import faster_rcnn_resnet50_fpn_coco, quickstart


def get_config() -> ConfigDict:
    """The two stages of torchvision's recipe on the quickstart's backbone."""
    config = quickstart.get_config()
    own = faster_rcnn_resnet50_fpn_coco.get_config()
    del config.model.head, config.model.detector, config.model.neck
    config.model.neck = dict(name="fpn", channels=64, extra="none")
    config.model.rpn_head, config.model.roi_head = own.model.rpn_head, own.model.roi_head
    config.model.roi_head.hidden = (128,)
    config.model.detector = dict(
        name="faster_rcnn",
        anchor_sizes=((16.0, 24.0), (32.0, 48.0), (64.0, 96.0)),
        strides=(8,),
        candidates=(256, 256),
        proposals=(128, 64),
        anchors_drawn=64,
        regions_drawn=32,
    )
    config.evaluation.update(score_threshold=0.01, iou_threshold=0.5)
    return config
