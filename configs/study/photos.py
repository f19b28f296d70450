"""A study: how to fine-tune YOLOv3-tiny, trained on COCO, on a few real photographs.

    python -m jaxdet.sweep --config=configs/study/photos.py --workdir=runs/study/photos \
        --config.init_from=runs/yolov3_tiny --config.data.root=VOCdevkit

where `runs/yolov3_tiny` is what `configs/yolov3_tiny_416_coco.py` says how to convert. The baseline
starts from all of its weights, and everything is trained. The schedules are those of
`configs/freeze`, in 200 steps. Published: nothing. Measured here: see docs/study.md.
"""

from ml_collections import ConfigDict

from jaxdet.configs import yolov3_tiny_416_voc
from jaxdet.studies import Change, Seeds, changed

SEEDS = Seeds(baseline=3, change=2)
STEPS = 200


def get_config(change: str = "baseline") -> ConfigDict:
    """YOLOv3-tiny's recipe for VOC at 320 pixels and a low rate, with one of `CHANGES`."""
    config = yolov3_tiny_416_voc.get_config()
    config.model.size = 320
    config.schedule.update(steps=STEPS, peak=1e-4, warmup=20 / STEPS)
    config.every.update(picture=0, checkpoint=STEPS // 2, evaluation=STEPS // 2, keep=1)
    return changed(config, CHANGES, change)


FROZEN = {"step.frozen": ("backbone",)}
# python -m jaxdet.anchors --config=configs/study/photos.py --config.data.root=VOCdevkit
# Mean IoU with the best of them 0.684, with the best of the original 0.612.
OWN_PRIORS = (
    ((25.0, 28.8), (52.5, 65.3), (83.2, 142.1)),
    ((129.3, 93.4), (165.8, 183.0), (263.0, 213.0)),
)

CHANGES = {
    "from_scratch": Change("nothing pre-trained", {"init_from": ""}),
    "backbone_frozen": Change("neck and head are trained", FROZEN),
    "detection_layers_only": Change(
        "the last layers are trained", {"step.frozen": ("backbone", "neck")}
    ),
    "then_unfrozen": Change(
        "the backbone frozen for half of the steps", FROZEN | {"step.unfreeze_at": STEPS // 2}
    ),
    "multi_scale": Change("inputs of 256 to 384 pixels", {"step.sizes": (256, 320, 384)}),
    "own_priors": Change("priors clustered from the set", {"model.detector.priors": OWN_PRIORS}),
    "rate_1e-3": Change("ten times the rate", {"schedule.peak": 1e-3}),
}
