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
LOSSES = {
    "l1": _box_loss("absolute error of the codes", "l1"),
    "mse": _box_loss("squared error of the codes", "mse"),
    "smooth_l1_ninth": _box_loss("smooth L1 with a beta of 1/9", dict(name="smooth_l1", beta=1 / 9)),
    "iou": _box_loss("1 - IoU", "iou", f"51.01, {_DIOU_SSD}"),
    "giou": _box_loss("generalised IoU", "giou", f"38.0 -> 39.4, {_YOLOV4}"),
    "diou": _box_loss("distance IoU", "diou", f"38.0 -> 39.1, {_YOLOV4}"),
    "ciou": _box_loss("complete IoU", "ciou", f"38.0 -> 39.6, {_YOLOV4}"),
    "yolox_iou": _box_loss("1 - IoU^2", "yolox"),
    "bce": Change("a sigmoid per class", {"model.detector.class_loss": "bce"}),
    "focal": Change("focal loss on all anchors, no mining", {
        "model.detector.class_loss": "focal",
        "model.detector.negative_ratio": 0,
        "model.head.initial_probability": 0.01,
    }),
    "label_smoothing": Change("a tenth of each target spread over all classes", {
        "model.detector.class_loss": dict(name="cross_entropy", label_smoothing=0.1),
    }, f"38.0 -> 33.0, {_YOLOV4}"),
}
LAYERS = {
    **{name: _everywhere(f"{name} for ReLU", "activation", name) for name in (
        "relu6", "leaky_relu", "sigmoid", "hard_sigmoid", "swish", "hard_swish", "gelu", "maxout",
    )},
    "mish": _everywhere("mish for ReLU", "activation", "mish", "ImageNet top-1 77.9 -> 78.9, YOLOv4"),
    "slow_batch_norm": _everywhere("running statistics over 33 batches, not 10", "norm", "slow_batch_norm"),
    "no_norm": _everywhere("biases instead of BatchNorm", "norm", "none"),
    "squeeze_excite": _attention("a factor for each channel", "squeeze_excite"),
    "sam": _attention("a factor for each pixel of each channel", "sam", "42.4 -> 42.7, COCO AP, YOLOv4, Table 5"),
    "cbam": _attention("factors for channels, then pixels", "cbam"),
    "cbam_spatial": _attention("a factor for each pixel", "cbam_spatial"),
    "ssdlite": Change("separable head", {"model.head": dict(name="ssdlite")}),
    "ssdlite_separable": Change("separable head, on the last map too", {"model.head": dict(name="ssdlite_separable")}),
}
TRAINING = {
    "mosaic": _mix("four images in one", f"38.0 -> 39.1, {_YOLOV4}", name="mosaic"),
    "mosaic_yolox": _mix("four images in one, seen through an affine map", name="mosaic_yolox"),
    "cutmix": _mix("a rectangle of another image", "ImageNet top-1 77.9 -> 78.0, YOLOv4", name="cutmix"),
    "mixup": _mix("two images blended", name="mixup"),
    "mixup_yolox": _mix("half and half with another, resized", name="mixup_yolox"),
    "affine": _mix("turned, scaled, sheared, shifted", name="affine"),
    "crops": Change("SSD's random crops", {"augment.window.crop_min_ious": (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)}),
    "no_zoom_out": Change("no zooming out", {"augment.window.expand_probability": 0.0}),
    "no_flip": Change("no flips", {"augment.window.mirror_probability": 0.0}),
    "ema": Change("moving average of the weights", {"step.ema_decay": 0.98}),
    "multi_scale": Change("inputs of 128, 160 and 192 pixels", {"step.sizes": (128, 160, 192)}),
    "sgd": Change("SGD with momentum for AdamW", {
        "optimiser": dict(name="sgd", momentum=0.9, weight_decay=5e-4, clip_norm=10.0),
        "schedule.peak": 1e-2,
    }),
    "step_decay": Change("rate divided by 10 at 2/3 and 5/6", {
        "schedule": dict(name="step_decay", steps=400, boundaries=(2 / 3, 5 / 6), peak=4e-3, factor=0.1, warmup=50 / 400, warmup_start=0.1, epochs=0.0),
    }),
}
NMS = {  # of the baseline's own weights
    "nms_diou": _nms("IoU less a share for the distance", nms="diou"),
    "nms_agnostic": _nms("over all classes", nms="agnostic"),
    "nms_best_class": _nms("an anchor's best class alone", nms=dict(name="greedy", best_class=True)),
    "nms_soft": _nms("scores fall with a Gaussian", nms="soft"),
    "nms_soft_linear": _nms("scores fall linearly", nms=dict(name="soft", method="linear")),
    "nms_at_0.65": _nms("IoU 0.65 instead of 0.45", "38.0 -> 38.6, WongKinYiu", iou_threshold=0.65),
    "score_above_0.001": _nms("0.001", score_threshold=0.001),
    "score_above_0.1": _nms("0.1", score_threshold=0.1),
}
CHANGES = {**NECKS, **BACKBONES, **LOSSES, **LAYERS, **TRAINING, **NMS}
