"""SSD300 with VGG16 on PASCAL VOC07+12 (Liu et al. 2016, arXiv:1512.02325).

    python -m jaxdet.main --config=configs/ssd300_voc.py --workdir=runs/ssd300_voc \
        --config.data.root=VOCdevkit --config.init_from=vgg16_imagenet.safetensors

Published: 77.2 mAP (paper, Table 1) and 77.7 (lufficc/SSD, this recipe) on VOC2007 test, 11-point,
trained on VOC2007 trainval + VOC2012 trainval from ImageNet weights. Measured here: no.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The recipe: every decision in it is a key."""
    config = ConfigDict(dict(purpose="", seed=0, init_from="", log=("tensorboard",)))
    config.model = dict(
        size=300,
        mean=(123.0, 117.0, 104.0),
        scale=(1.0, 1.0, 1.0),
        dtype="float32",
        fit="stretch",
        backbone=dict(name="vgg16"),
        neck=dict(name="vgg_extras"),
        head=dict(name="ssd"),
        detector=dict(
            name="ssd",
            strides=(8, 16, 32, 64, 100, 300),
            scales=(0.1, 0.2, 0.37, 0.54, 0.71, 0.88, 1.05),
            ratios=((2.0,), (2.0, 3.0), (2.0, 3.0), (2.0, 3.0), (2.0,), (2.0,)),
            variances=(0.1, 0.2),
            match_iou=0.5,
            negative_ratio=3,
            box_loss="smooth_l1",
            class_loss="cross_entropy",
        ),
    )
    config.data = dict(train="voc_2007_trainval+voc_2012_trainval", eval="voc_2007_test")
    config.data.update(dir="~/tensorflow_datasets", root="", canvas=512, batch_size=32)
    config.data.update(max_objects=64, keep_difficult=False)
    config.augment = dict(mix=())
    config.augment.window = dict(
        name="expand_and_crop",
        expand_probability=0.5,
        expand_max=4.0,
        crop_min_ious=(0.0, 0.1, 0.3, 0.5, 0.7, 0.9),
        mirror_probability=0.5,
    )
    config.augment.colour = dict(name="distort", brightness=32.0, hue=18.0, swap_probability=0.5)
    config.augment.colour.update(contrast=(0.5, 1.5), saturation=(0.5, 1.5))
    config.schedule = dict(name="step_decay", steps=120_000, boundaries=(2 / 3, 5 / 6))
    config.schedule.update(peak=1e-3, factor=0.1, warmup=500 / 120_000, warmup_start=1 / 3)
    config.schedule.epochs = 0.0  # if not 0, these count instead of the steps
    config.optimiser = dict(name="sgd", momentum=0.9, weight_decay=5e-4, clip_norm=0.0)
    config.step = dict(accumulate=1, ema_decay=0.0, frozen=(), unfreeze_at=0.0)
    config.step.update(synchronised=True, sizes=(), resize_every=10)
    config.step.update(ema_ramp=0, late_losses=(), late_from=0.0)
    config.evaluation = dict(metric="voc", batch_size=32, nms="greedy")
    config.evaluation.update(score_threshold=0.01, iou_threshold=0.45, max_kept=100, main="")
    config.every = dict(log=50, picture=2_000, checkpoint=2_000, evaluation=10_000, keep=2)
    config.every.patience = 0
    return config
