"""Faster R-CNN with ResNet-50 and a feature pyramid on COCO 2017 (Ren et al. 2015,
arXiv:1506.01497; Lin et al. 2016, arXiv:1612.03144).

    python -m jaxdet.convert --source=torchvision --weights=fasterrcnn_resnet50_fpn.pth \
        --config=configs/faster_rcnn_resnet50_fpn_coco.py --workdir=runs/faster_rcnn

Published: 37.0 AP on val2017 (torchvision, fasterrcnn_resnet50_fpn, COCO_V1, trained on train2017
with the 91 classes of which 80 exist). Measured here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs import ssd300_coco


def get_config() -> ConfigDict:
    """torchvision's recipe: 26 epochs in batches of 16, from ImageNet weights."""
    config = ssd300_coco.get_config()
    # The shorter side is 800 pixels, the longer one at most 1333: most images become 800x1066.
    config.model.update(size=800, mean=(123.675, 116.28, 103.53), scale=(58.395, 57.12, 57.375))
    del config.model.fit, config.data.canvas, config.model.head, config.model.detector
    config.model.fit = dict(name="shorter_side", longest=1333)
    config.data.canvas = ((800, 1088), (1088, 800), (800, 1344), (1344, 800))
    # The epsilon of the released weights; other ImageNet weights have 1e-5.
    norm = dict(name="frozen_batch_norm", epsilon=0.0)
    config.model.backbone = dict(name="resnet50", strides=(4, 8, 16, 32), norm=norm)
    config.model.neck = dict(name="fpn", extra="pool")
    config.model.rpn_head = dict(name="rpn", convs=1)
    config.model.roi_head = dict(name="fast_rcnn", hidden=(1024, 1024))
    config.model.detector = dict(
        name="faster_rcnn",
        anchor_sizes=((32.0,), (64.0,), (128.0,), (256.0,), (512.0,)),
        strides=(4, 8, 16, 32),
    )
    config.augment.window.update(expand_probability=0.0, crop_min_ious=())
    config.augment.colour.update(brightness=0.0, hue=0.0, swap_probability=0.0)
    config.augment.colour.update(contrast=(1.0, 1.0), saturation=(1.0, 1.0))
    config.data.update(batch_size=16)
    # 26 epochs of the 117,266 images that have objects.
    config.schedule.update(steps=190_550, peak=0.02)
    config.schedule.boundaries = (117_260 / 190_550, 161_240 / 190_550)
    config.schedule.update(warmup=1_000 / 190_550, warmup_start=1e-3)
    config.optimiser.weight_decay = 1e-4
    config.step.frozen = ("backbone/stem", "backbone/block1_*")
    config.evaluation.update(batch_size=8, score_threshold=0.05, iou_threshold=0.5, max_kept=100)
    return config
