"""YOLOX-S on COCO 2017 (Ge et al. 2021, arXiv:2107.08430; Megvii-BaseDetection/YOLOX).

    python -m jaxdet.convert --source=yolox --weights=yolox_s.pth \
        --config=configs/yolox_s_coco.py --workdir=runs/yolox_s

Published: AP 40.5 on val2017 and on test-dev at 640 pixels (Megvii-BaseDetection/YOLOX, README).
Measured here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs import ssd300_coco

EPOCH, LAST = 1_849, 284 / 300  # steps; the share of them that mixes (118,287 images, 64 a step)


def get_config() -> ConfigDict:
    """300 epochs, of which the last 16 have no mixes and, besides the IoU loss, L1."""
    config = ssd300_coco.get_config()
    config.model.update(size=640, mean=(0.0,) * 3, scale=(1.0,) * 3, fit="top_left")
    config.model.backbone = dict(name="csp_darknet", depth=0.33, width=0.5, depthwise=False)
    config.model.neck = dict(name="csp_pan", depth=0.33, depthwise=False)
    config.model.head = dict(name="yolox", width=0.5, depthwise=False)
    config.model.detector = dict(name="yolox", assignment="released", box_weight=5.0)
    config.model.detector.update(box_loss="yolox", class_loss="bce")
    config.data.batch_size, config.step.sizes = 64, tuple(range(480, 801, 32))
    mixes = (dict(name="mosaic_yolox", scale=(0.1, 2.0)), dict(name="mixup_yolox"))
    config.augment.mix = tuple(dict(mix, probability=1.0, until=LAST) for mix in mixes)
    config.augment.window.update(expand_probability=0.0, crop_min_ious=())
    config.augment.colour.update(brightness=0.0, hue=5.4, swap_probability=0.0)
    config.augment.colour.update(contrast=(0.6, 1.4), saturation=(0.3, 1.7))
    config.schedule = dict(name="yolox", steps=300 * EPOCH, epochs=0.0, peak=0.01, end=0.05)
    config.schedule.update(warmup=5 / 300, flat=15 / 300)
    config.optimiser.update(nesterov=True, decay_kernels_only=True)
    config.step.update(ema_decay=0.9998, ema_ramp=2_000, late_losses=("l1",), late_from=LAST)
    nms = dict(nms=dict(name="greedy", best_class=True), iou_threshold=0.65, max_kept=300)
    config.evaluation = dict(metric="coco", batch_size=32, score_threshold=0.001, **nms)
    return config
