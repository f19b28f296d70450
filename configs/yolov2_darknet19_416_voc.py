"""YOLOv2 with Darknet-19 on PASCAL VOC07+12 (Redmon and Farhadi 2016, arXiv:1612.08242).

    python -m jaxdet.main --config=configs/yolov2_darknet19_416_voc.py --workdir=runs/yolov2 \
        --config.data.root=VOCdevkit --config.init_from=darknet19_448.conv.23

Published: 76.8 mAP at 416 and 78.6 at 544 on VOC2007 test (paper, Table 3; one network, trained
on many sizes). Rates and steps are those of yolov2-voc.cfg. Measured here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs import ssd300_voc

# Widths and heights of boxes at 416 pixels: clusters of the training boxes, which yolov2-voc.cfg
# gives in cells of 32, and Faster R-CNN's, picked by hand at 600 (arXiv:1506.01497, section 3.3).
CELLS = ((1.3221, 1.73145), (3.19275, 4.00944), (5.05587, 8.09892), (9.47112, 4.84053))
CLUSTERED = tuple((32 * w, 32 * h) for w, h in (*CELLS, (11.2364, 10.0071)))
_SIDES = [side * 416 / 600 for side in (128, 256, 512)]
HAND_PICKED = tuple((side * r**0.5, side / r**0.5) for side in _SIDES for r in (0.5, 1, 2))


def get_config() -> ConfigDict:
    """Darknet's recipe, with the augmentation of SSD."""
    config = ssd300_voc.get_config()
    config.model.update(size=416, mean=(0.0,) * 3, scale=(255.0,) * 3, fit="letterbox")
    config.model.update(
        backbone=dict(name="darknet19", norm="batch_norm"), head=dict(name="yolov2")
    )
    config.model.neck = dict(name="passthrough", reorg="darknet_reorg", passthrough=True)
    config.model.detector = dict(name="yolov2", priors=(CLUSTERED,), direct_location=True)
    config.model.detector.update(box_loss="yolov2", class_loss="cross_entropy")
    config.data.batch_size = 64
    config.schedule.update(steps=80_200, boundaries=(400 / 802, 600 / 802))
    config.schedule.update(warmup=10 / 802, warmup_start=1e-3)
    config.step.sizes = tuple(range(320, 609, 32))
    config.evaluation.score_threshold = 0.005
    return config
