"""Faster R-CNN with MobileNetV3-Large and small inputs on COCO 2017 (Howard et al. 2019,
arXiv:1905.02244).

    python -m jaxdet.convert --source=torchvision \
        --weights=fasterrcnn_mobilenet_v3_large_320_fpn.pth \
        --config=configs/faster_rcnn_mobilenet_v3_320_fpn_coco.py --workdir=runs/faster_rcnn_320

Published: 22.8 AP on val2017 (torchvision, fasterrcnn_mobilenet_v3_large_320_fpn, COCO_V1, trained
with several input sizes, which this recipe does not have). Measured here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs import faster_rcnn_resnet50_fpn_coco


def get_config() -> ConfigDict:
    """torchvision's network: two maps of stride 32, all anchors at each, few proposals."""
    config = faster_rcnn_resnet50_fpn_coco.get_config()
    config.model.size = 320
    config.model.fit.longest = 640
    config.data.canvas = ((320, 448), (448, 320), (320, 640), (640, 320))
    norm = dict(name="frozen_batch_norm", epsilon=1e-5)
    config.model.backbone = dict(name="mobilenet_v3", squeeze_first=False, strides=(32, 32))
    config.model.backbone.norm = norm
    config.model.detector.update(anchor_sizes=((32.0, 64.0, 128.0, 256.0, 512.0),) * 3)
    config.model.detector.update(strides=(32,), candidates=(2000, 150), proposals=(2000, 150))
    config.model.detector.proposal_score = 0.05
    config.step.frozen = ()
    return config
