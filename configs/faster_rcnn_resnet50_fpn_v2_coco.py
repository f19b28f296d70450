"""Faster R-CNN with ResNet-50 on COCO 2017, second version (Li et al. 2021, arXiv:2111.11429).

    python -m jaxdet.convert --source=torchvision --weights=fasterrcnn_resnet50_fpn_v2.pth \
        --config=configs/faster_rcnn_resnet50_fpn_v2_coco.py --workdir=runs/faster_rcnn_v2

Published: 46.7 AP on val2017 (torchvision, fasterrcnn_resnet50_fpn_v2, COCO_V1, trained for 400
epochs with large-scale jitter, which this recipe does not have). Measured here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs import faster_rcnn_resnet50_fpn_coco


def get_config() -> ConfigDict:
    """torchvision's network: BatchNorm everywhere, deeper heads; nothing is frozen."""
    config = faster_rcnn_resnet50_fpn_coco.get_config()
    config.model.backbone = dict(name="resnet50", strides=(4, 8, 16, 32))
    config.model.neck.norm = "batch_norm"
    config.model.rpn_head.convs = 2
    config.model.roi_head.update(convs=(256, 256, 256, 256), hidden=(1024,))
    config.step.frozen = ()
    # 400 epochs in batches of 16.
    config.schedule.update(steps=2_931_600, boundaries=(0.9, 0.95))
    config.schedule.warmup = 1_000 / 2_931_600
    return config
