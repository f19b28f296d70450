"""YOLOv2 with ResNet-50 on COCO 2017, trained on many sizes (arXiv:1612.08242, section 2).

    python -m jaxdet.main --config=configs/yolov2_resnet50_coco.py --workdir=runs/yolov2_resnet50 \
        --config.data.root=coco --config.init_from=resnet50_imagenet.safetensors

Published: AP 25.8, 29.0, 30.4, 30.4 and 29.2 on val2017 at 320, 416, 512, 544 and 608 pixels
(yjh0410, whose rates and priors these are). `--config.model.size` sets the size for an
evaluation. Measured here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs import yolov2_darknet19_416_voc


def get_config() -> ConfigDict:
    """YOLOv2's recipe with another backbone and images stretched to the square, for 200 epochs."""
    config = yolov2_darknet19_416_voc.get_config()
    config.model.update(mean=(123.675, 116.28, 103.53), scale=(58.395, 57.12, 57.375))
    config.model.backbone = dict(name="resnet50")
    config.model.neck.reorg = "space_to_depth"
    config.model.fit = "stretch"
    cells = ((0.53, 0.79), (1.71, 2.36), (2.89, 6.44), (6.33, 3.79), (9.03, 9.74))  # of 32 pixels
    config.model.detector.priors = (tuple((32 * w, 32 * h) for w, h in cells),)
    config.data.update(train="coco_2017_train", eval="coco_2017_val", canvas=640, max_objects=100)
    config.schedule.update(steps=366_400, boundaries=(0.5, 0.75), warmup=10 / 3664)
    config.evaluation.update(metric="coco", score_threshold=0.001, iou_threshold=0.5)
    return config
