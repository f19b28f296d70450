"""Pelee, SSD304 with PeleeNet, on PASCAL VOC07+12 (Wang et al. 2018, arXiv:1804.06882).

    python -m jaxdet.main --config=configs/pelee_ssd304_voc.py --workdir=runs/pelee \
        --config.data.root=VOCdevkit --config.init_from=peleenet_imagenet.safetensors

Published: 70.9 mAP on VOC2007 test, 11-point (paper; Robert-JunWang/Pelee), 76.4 if trained on COCO
first. Rate, steps, default boxes and limits are those of that repository's training script;
augmentation is SSD300's, which expands and distorts more. The graph published with the second
model, whose weights `jaxdet.convert --source=peleenet` reads, has smaller default boxes:
`--config.model.detector.scales=(0.07,0.15,0.33,0.51,0.69,0.87,1.05)`.
Measured here: no.
"""

from ml_collections import ConfigDict

from jaxdet.configs import ssd300_voc


def get_config() -> ConfigDict:
    """SSD300's recipe with another network, its default boxes, and five times the rate."""
    config = ssd300_voc.get_config()
    norm = dict(name="batch_norm", momentum=0.999, epsilon=1e-3)
    config.model.update(size=304, mean=(123.68, 116.78, 103.94), scale=(1 / 0.017,) * 3)
    config.model.backbone = dict(name="peleenet", round_up=True, norm=norm)
    config.model.neck = dict(name="pelee_extras", norm=norm)
    config.model.head = dict(name="ssd", size=1)
    detector = config.model.detector
    detector.strides = (16, 16, 304 / 10, 304 / 5, 304 / 3, 304)  # the finest map has two levels
    detector.ratios = ((2.0, 3.0),) * 6
    detector.clip_anchors = "none"
    config.schedule.peak = 5e-3
    config.evaluation.max_kept = 200
    return config
