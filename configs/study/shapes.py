"""A study: what each part brings to a small SSD from nothing, on generated images.

    python -m jaxdet.sweep --config=configs/study/shapes.py --workdir=runs/study/shapes
    python -m jaxdet.main --config=configs/study/shapes.py:fpn --workdir=runs/fpn --config.seed=1

The baseline is `configs/quickstart.py` with 400 steps. Parts that cannot be combined with it are
absent: the box losses of YOLO's codec, and `vgg_extras_512`, which is `vgg_extras` with more rows.
Published: see each change. Measured here: see docs/study.md.
"""

from ml_collections import ConfigDict

from jaxdet.configs import quickstart
from jaxdet.studies import Change, Seeds, changed

SEEDS = Seeds(baseline=5, change=2)
_YOLOV4 = "COCO AP, YOLOv4 (arXiv:2004.10934), Table 4"
_DIOU_SSD = "VOC07 AP, SSD-FPN, Zzh-tju/DIoU-SSD-pytorch"
_COARSER = dict(name="extra_convs", channels=(128,))
# Six levels, as in SSD300, for necks that add three or four maps to two.
_SIX_LEVELS = {
    "model.detector.strides": (),
    "model.detector.scales": (0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0),
    "model.detector.ratios": ((2.0,),) * 6,
}
_FIVE_LEVELS = {
    "model.detector.strides": (),
    "model.detector.scales": (0.1, 0.2, 0.4, 0.6, 0.8, 0.9),
    "model.detector.ratios": ((2.0,),) * 5,
}


def get_config(change: str = "baseline") -> ConfigDict:
    """The quickstart in 400 steps, with one of `CHANGES`."""
    config = quickstart.get_config()
    config.schedule.update(steps=400, warmup=50 / 400)
    config.every.update(picture=0, checkpoint=200, evaluation=400, keep=1)
    return changed(config, CHANGES, change)


def _backbone(purpose: str, published: str = "", **block) -> Change:
    """Another backbone, about as costly as the baseline's."""
    return Change(purpose, {"model.backbone": dict(block, strides=(8, 16, 32))}, published)


def _neck(purpose: str, *necks, published: str = "") -> Change:
    """Necks before the map of stride 64."""
    return Change(purpose, {"model.neck": (*necks, _COARSER)}, published)


def _extras(purpose: str, levels: dict, **neck) -> Change:
    """SSD's extra maps of another backbone, after two of the baseline's."""
    keys = {"model.backbone.strides": (8, 16), "model.neck": neck, **levels}
    return Change(purpose, keys)


def _one_map(purpose: str, stride: tuple[int, ...], **neck) -> Change:
    """A neck that returns one map, here of stride 8, and coarser ones as in the baseline."""
    coarser = dict(_COARSER, channels=(96, 128, 128))
    return Change(purpose, {"model.backbone.strides": stride, "model.neck": (neck, coarser)})


def _attention(purpose: str, name: str, published: str = "") -> Change:
    attended = dict(name="attended", attention=name)
    return Change(purpose, {"model.neck": (_COARSER, attended)}, published)


def _everywhere(purpose: str, key: str, value: str, published: str = "") -> Change:
    """An activation or norm, in backbone and neck."""
    keys = {f"model.{part}.{key}": value for part in ("backbone", "neck")}
    return Change(purpose, keys, published)


def _box_loss(purpose: str, loss, published: str = "") -> Change:
    return Change(purpose, {"model.detector.box_loss": loss}, published)


def _mix(purpose: str, published: str = "", **mix) -> Change:
    """A mix of half the images, until the last fifth of the steps."""
    block = dict(mix, probability=0.5, until=320)
    return Change(purpose, {"augment.mix": (block,), "data.max_objects": 32}, published)


def _nms(purpose: str, published: str = "", **keys) -> Change:
    return Change(purpose, {f"evaluation.{key}": value for key, value in keys.items()}, published)


NECKS = {
    "fpn": _neck("top-down pyramid", dict(name="fpn", channels=64)),
    "yolo_fpn": _neck("YOLOv3's pyramid", dict(name="yolo_fpn", width=0.25)),
    "spp": _neck("pooling pyramid", dict(name="spp", width=0.125), published="44.0 -> 44.3"),
    "sppf": _neck("pooling pyramid of two convolutions", dict(name="sppf")),
    "pan": _neck("YOLOv4's two-way pyramid", dict(name="pan", width=0.25)),
    "spp_pan": _neck("YOLOv4's neck", dict(name="spp", width=0.125), dict(name="pan", width=0.25)),
    "csp_pan": _neck("YOLOX's two-way pyramid", dict(name="csp_pan", depth=0.34)),
    "pan_asff": _neck("PAN, its levels fused", dict(name="pan", width=0.25), dict(name="asff", width=0.25)),
    "passthrough": _one_map("YOLOv2's neck", (4, 8), name="passthrough", width=0.0625),
    "yolov1_convs": _one_map("YOLO's four convolutions", (8,), name="yolov1_convs", width=0.0625),
    "identity": Change("stride 64 from the backbone", {
        "model.backbone.channels": (16, 32, 64, 96, 128, 128),
        "model.backbone.strides": (8, 16, 32, 64),
        "model.neck": dict(name="identity"),
    }),
    "vgg_extras": Change("SSD's extra maps, no norm", {
        "model.backbone.strides": (8, 16),
        "model.neck": dict(name="vgg_extras", rows=((64, 128, 3, 2, 1), (64, 128, 3, 2, 1))),
    }),
    "mobilenet_extras": _extras("inverted residuals", _SIX_LEVELS, name="mobilenet_extras", width=0.25),
    "mobilenet_v3_extras": _extras("squeezed residuals", _SIX_LEVELS, name="mobilenet_v3_extras", width=0.25),
    "ssdlite_extras": _extras("separable", _SIX_LEVELS, name="ssdlite_extras", width=0.25),
    "pelee_extras": _extras("Pelee's", _SIX_LEVELS, name="pelee_extras", width=0.25),
    "efficientnet_extras": _extras("e", _FIVE_LEVELS, name="efficientnet_extras", width=0.5),
}
BACKBONES = {
    "vgg16": Change("VGG", {
        "model.backbone": dict(name="vgg16", width=0.125),
        "model.neck": dict(name="extra_convs", channels=(128, 128)),
    }),
    "vgg16_features": _backbone("VGG with BatchNorm", name="vgg16_features", width=0.125, norm="batch_norm"),
    "resnet50": _backbone("r", name="resnet50", width=0.25),
    "res2net50": _backbone("r", name="res2net50", width=0.25),
    "res2net50_v1b": _backbone("r", name="res2net50_v1b", width=0.25),
    "mobilenet_v2": _backbone("r", name="mobilenet_v2", width=0.5),
    "mobilenet_v3": _backbone("r", name="mobilenet_v3", width=0.5),
    "efficientnet_b3": _backbone("r", name="efficientnet_b3", width=0.25, depth=0.5),
    "peleenet": _backbone("r", name="peleenet", width=0.5),
    "darknet19": _backbone("r", name="darknet19", width=0.125),
    "darknet53": _backbone("r", name="darknet53", width=0.125),
    "darknet_tiny": _backbone("r", name="darknet_tiny", width=0.5),
    "cspdarknet53": _backbone("r", name="cspdarknet53", width=0.125),
    "cspdarknet53_tiny": _backbone("r", name="cspdarknet53_tiny", width=0.5),
    "csp_darknet": _backbone("r", name="csp_darknet", width=0.25, depth=0.34),
}
CHANGES = {**NECKS, **BACKBONES}
