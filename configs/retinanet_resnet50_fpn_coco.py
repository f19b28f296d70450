"""RetinaNet with ResNet-50 on COCO 2017 (Lin et al. 2017, arXiv:1708.02002).

    python -m jaxdet.convert --source=torchvision --weights=retinanet_resnet50_fpn.pth \
        --config=configs/retinanet_resnet50_fpn_coco.py --workdir=runs/retinanet

Published: 36.4 AP on val2017 (torchvision, retinanet_resnet50_fpn, COCO_V1, trained on train2017
with the 91 classes of which 80 exist). Measured here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs import faster_rcnn_resnet50_fpn_coco


def get_config() -> ConfigDict:
    """torchvision's recipe: that of Faster R-CNN with maps of strides 8 to 128."""
    config = faster_rcnn_resnet50_fpn_coco.get_config()
    del config.model.rpn_head, config.model.roi_head, config.model.detector
    config.model.backbone.strides = (8, 16, 32)
    config.model.neck.extra = "p6p7_of_p5"
    config.model.head = dict(name="retinanet")
    sides = (32, 64, 128, 256, 512)
    sizes = tuple(tuple(float(int(side * 2 ** (i / 3))) for i in range(3)) for side in sides)
    config.model.detector = dict(name="retinanet", anchor_sizes=sizes)
    config.schedule.peak = 0.01
    config.evaluation.max_kept = 300
    return config
