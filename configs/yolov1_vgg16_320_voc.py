"""YOLO with VGG16 at 320 pixels on PASCAL VOC07+12 (Redmon et al. 2015, arXiv:1506.02640).

    python -m jaxdet.main --config=configs/yolov1_vgg16_320_voc.py --workdir=runs/yolov1 \
        --config.data.root=VOCdevkit --config.init_from=vgg16_imagenet.safetensors

Published: 63.4 mAP on VOC2007 test at 320 pixels; 66.4 in the paper (Table 1), at 448 and with
fully connected layers. The steps are those of yolov1.cfg, the rate is a fifth of its. Measured
here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs import ssd300_voc


def get_config() -> ConfigDict:
    """YOLO's grid and loss with 10 x 10 cells, and the augmentation of SSD."""
    config = ssd300_voc.get_config()
    config.model.size = 320
    config.model.update(mean=(123.675, 116.28, 103.53), scale=(58.395, 57.12, 57.375))
    config.model.backbone = dict(name="vgg16_features")
    config.model.neck = dict(name="yolov1_convs")
    config.model.head = dict(name="yolov1")
    config.model.detector = dict(name="yolov1", boxes_per_cell=2, box_loss="mse")
    config.data.batch_size = 64
    config.schedule.update(steps=40_000, boundaries=(0.5, 0.75))
    config.schedule.update(warmup=1_000 / 40_000, warmup_start=1e-3)
    config.evaluation.update(score_threshold=0.001, iou_threshold=0.5)
    return config
