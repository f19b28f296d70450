"""A study: what each part brings to a small SSD, trained from nothing on generated images.

    python -m jaxdet.sweep --config=configs/study/shapes.py --workdir=runs/study/shapes
    python -m jaxdet.main --config=configs/study/shapes.py:fpn --config.seed=1 --workdir=runs/fpn

The baseline is `quickstart` with 800 steps. Widths are such that a step costs about as much as the
baseline's. Left out is what cannot be combined with SSD or is there already: the losses of YOLO's
codec, `vgg_extras_512` (`vgg_extras` with more rows), `frozen_batch_norm` (nothing to freeze yet).
Published: see each change. Measured here: see docs/study.md.
"""

from typing import Any

from ml_collections import ConfigDict

from jaxdet.configs import quickstart
from jaxdet.studies import Change, Seeds, changed

SEEDS = Seeds(baseline=5, change=2)
STEPS = 800
YOLOV4 = "YOLOv4, Table 4, COCO AP"
DIOU_SSD = "Zzh-tju/DIoU-SSD-pytorch, SSD-FPN, VOC07 AP"


def get_config(change: str = "baseline") -> ConfigDict:
    """The quickstart in 800 steps, with one of `CHANGES`."""
    config = quickstart.get_config()
    config.schedule.update(steps=STEPS, warmup=50 / STEPS)
    config.every.update(picture=0, checkpoint=STEPS // 2, evaluation=STEPS, keep=1)
    return changed(config, CHANGES, change)


# Necks. The baseline's is `extra_convs`, one more map, of stride 64.

LAST = dict(name="extra_convs", channels=(128,))


def levels(count: int) -> dict[str, Any]:
    """Default boxes for more levels than the baseline's four."""
    return {
        "model.detector.strides": (),  # from the sizes of the maps
        "model.detector.scales": (0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0)[: count + 1],
        "model.detector.ratios": ((2.0,),) * count,
    }


def neck(purpose: str, *parts: dict, published: str = "") -> Change:
    """Parts between the backbone and the last map."""
    return Change(purpose, {"model.neck": (*parts, LAST)}, published)


def one_map(purpose: str, strides: tuple[int, ...], **part) -> Change:
    """A neck that makes one map, here of stride 8; plain convolutions make the others."""
    coarser = dict(LAST, channels=(96, 128, 128))
    return Change(purpose, {"model.backbone.strides": strides, "model.neck": (part, coarser)})


def extras(purpose: str, count: int, **part) -> Change:
    """The coarser maps of another SSD, after the backbone's of strides 8 and 16."""
    keys = {"model.backbone.strides": (8, 16), "model.neck": part}
    return Change(purpose, keys if count == 4 else keys | levels(count))


PAN, SPP = dict(name="pan", width=0.125), dict(name="spp", width=0.125)
NECKS = {
    "fpn": neck("a pyramid from coarse to fine", dict(name="fpn", channels=64)),
    "yolo_fpn": neck("YOLOv3's pyramid", dict(name="yolo_fpn", width=0.125)),
    "spp": neck(
        "maxima of three sizes on the coarsest map",
        SPP,
        published="+0.3 (PP-YOLO, COCO AP, 44.0 -> 44.3)",
    ),
    "sppf": neck("the same between two convolutions", dict(name="sppf")),
    "pan": neck("YOLOv4's pyramid, there and back", PAN),
    "spp_pan": neck("YOLOv4's neck", SPP, PAN),
    "csp_pan": neck("YOLOX's pyramid, there and back", dict(name="csp_pan", depth=0.34)),
    "pan_asff": neck(
        "the levels of PAN fused by learnt shares",
        PAN,
        dict(name="asff", width=0.125),
        published="+1.8 (ASFF's README, YOLOv3, COCO AP, 38.8 -> 40.6)",
    ),
    "passthrough": one_map("YOLOv2's finer features", (4, 8), name="passthrough", width=0.0625),
    "yolov1_convs": one_map("YOLO's four convolutions", (8,), name="yolov1_convs", width=0.0625),
    "identity": Change(
        "the last map is the backbone's",
        {
            "model.backbone.channels": (16, 32, 64, 96, 128, 128),
            "model.backbone.strides": (8, 16, 32, 64),
            "model.neck": dict(name="identity"),
        },
    ),
    "vgg_extras": extras(
        "SSD's coarser maps, without BatchNorm",
        4,
        name="vgg_extras",
        rows=((64, 128, 3, 2, 1), (64, 128, 3, 2, 1)),
    ),
    "efficientnet_extras": extras("five levels", 5, name="efficientnet_extras", width=0.5),
    "mobilenet_extras": extras("six, inverted residuals", 6, name="mobilenet_extras", width=0.25),
    "mobilenet_v3_extras": extras(
        "six, with squeeze-and-excite", 6, name="mobilenet_v3_extras", width=0.25
    ),
    "ssdlite_extras": extras("six, separable", 6, name="ssdlite_extras", width=0.25),
    "pelee_extras": extras("six, a residual block each", 6, name="pelee_extras", width=0.25),
}


# Backbones, with maps of strides 8, 16 and 32; VGG16's fc7 has 16.


def backbone(purpose: str, published: str = "", **part) -> Change:
    """Another backbone, as narrow as makes it about as costly."""
    return Change(purpose, {"model.backbone": dict(part, strides=(8, 16, 32))}, published)


RESNET = dict(width=0.25, blocks=(1, 1, 1, 1))
BACKBONES = {
    "vgg16": Change(
        "SSD's, without BatchNorm",
        {
            "model.backbone": dict(name="vgg16", width=0.125),
            "model.neck": dict(LAST, channels=(128, 128)),
        },
    ),
    "vgg16_features": backbone(
        "13 convolutions, BatchNorm", name="vgg16_features", width=0.125, norm="batch_norm"
    ),
    "resnet50": backbone("residual bottlenecks", name="resnet50", **RESNET),
    "res2net50": backbone("a hierarchy within each", name="res2net50", **RESNET),
    "res2net50_v1b": backbone("and ResNet-D's stem", name="res2net50_v1b", **RESNET),
    "mobilenet_v2": backbone("inverted residuals", name="mobilenet_v2", width=0.5),
    "mobilenet_v3": backbone("with squeeze-and-excite", name="mobilenet_v3", width=0.5),
    "efficientnet_b3": backbone(
        "its blocks, fewer and narrower", name="efficientnet_b3", width=0.25, depth=0.5
    ),
    "peleenet": backbone("two-way dense layers", name="peleenet", width=0.5),
    "darknet19": backbone("YOLOv2's", name="darknet19", width=0.125),
    "darknet53": backbone("YOLOv3's", name="darknet53", width=0.125),
    "darknet_tiny": backbone("YOLOv3-tiny's", name="darknet_tiny", width=0.5),
    "cspdarknet53": backbone(
        "YOLOv4's", "0 (CSP's README, ImageNet top-1)", name="cspdarknet53", width=0.125
    ),
    "cspdarknet53_tiny": backbone("YOLOv4-tiny's", name="cspdarknet53_tiny", width=0.5),
    "csp_darknet": backbone("YOLOX's", name="csp_darknet", width=0.25, depth=0.34),
}


# Losses. The baseline's are `smooth_l1` and `cross_entropy` with three negatives per positive.


def box_loss(purpose: str, loss: Any, published: str = "") -> Change:
    """Another box loss."""
    return Change(purpose, {"model.detector.box_loss": loss}, published)


LOSSES = {
    "l1": box_loss("absolute error of the codes", "l1"),
    "mse": box_loss("squared error of the codes", "mse"),
    "smooth_l1_ninth": box_loss("beta of 1/9", dict(name="smooth_l1", beta=1 / 9)),
    "iou": box_loss("1 - IoU", "iou", f"51.01 ({DIOU_SSD})"),
    "giou": box_loss("1 - generalised IoU", "giou", f"+1.4 ({YOLOV4}); 51.06 ({DIOU_SSD})"),
    "diou": box_loss("1 - distance IoU", "diou", f"+1.1 ({YOLOV4}); 51.31 ({DIOU_SSD})"),
    "ciou": box_loss("1 - complete IoU", "ciou", f"+1.6 ({YOLOV4}); 51.44 ({DIOU_SSD})"),
    "iou_squared": box_loss("1 - IoU^2", "yolox"),
    "bce": Change("a sigmoid for each class", {"model.detector.class_loss": "bce"}),
    "focal": Change(
        "all negatives, weighted",
        {
            "model.detector.class_loss": "focal",
            "model.detector.negative_ratio": 0,
            "model.head.initial_probability": 0.01,
        },
    ),
    "label_smoothing": Change(
        "a tenth of a target spread evenly",
        {"model.detector.class_loss": dict(name="cross_entropy", label_smoothing=0.1)},
        f"-5.0 ({YOLOV4})",
    ),
}


# Layers. The baseline has ReLU and BatchNorm everywhere, and no attention.


def everywhere(purpose: str, key: str, name: str, published: str = "") -> Change:
    """A layer in backbone and neck."""
    keys = {f"model.{part}.{key}": name for part in ("backbone", "neck")}
    return Change(purpose, keys, published)


def attention(purpose: str, name: str, published: str = "") -> Change:
    """Attention on each map before the head."""
    attended = dict(name="attended", attention=name)
    return Change(purpose, {"model.neck": (LAST, attended)}, published)


ACTIVATIONS = {  # name -> published
    **dict.fromkeys(("relu6", "leaky_relu", "sigmoid", "hard_sigmoid"), ""),
    **dict.fromkeys(("swish", "hard_swish", "gelu", "maxout"), ""),
    "mish": "+1.0 (YOLOv4, Table 2, ImageNet top-1)",
}
LAYERS = {
    **{
        name: everywhere(f"{name} instead of ReLU", "activation", name, published)
        for name, published in ACTIVATIONS.items()
    },
    "slow_batch_norm": everywhere("slower running statistics", "norm", "slow_batch_norm"),
    "no_norm": everywhere("biases instead of BatchNorm", "norm", "none"),
    "squeeze_excite": attention("a factor for each channel", "squeeze_excite"),
    "sam": attention(
        "a factor for each pixel and channel", "sam", "+0.3 (YOLOv4, Table 5, COCO AP)"
    ),
    "cbam": attention("factors for channels, then pixels", "cbam"),
    "cbam_spatial": attention("a factor for each pixel", "cbam_spatial"),
    "ssdlite": Change("separable head", {"model.head": dict(name="ssdlite")}),
    "ssdlite_separable": Change(
        "separable head, the last map's too", {"model.head": dict(name="ssdlite_separable")}
    ),
}


# Training. The baseline zooms out, flips and changes colours; AdamW with a cosine.


def mix(purpose: str, name: str, published: str = "") -> Change:
    """A mix, of half the images, in the first four fifths of the steps."""
    block = dict(name=name, probability=0.5, until=STEPS * 4 // 5)
    return Change(purpose, {"augment.mix": (block,)}, published)


def augmentation(purpose: str, **keys: Any) -> Change:
    """Other values for the random window."""
    return Change(purpose, {f"augment.window.{key}": value for key, value in keys.items()})


TRAINING = {
    "mosaic": mix("four images in one", "mosaic", f"+1.1 ({YOLOV4})"),
    "mosaic_yolox": mix("four in one, through an affine map", "mosaic_yolox"),
    "cutmix": mix("a rectangle of another", "cutmix", "+0.1 (YOLOv4, Table 2, ImageNet top-1)"),
    "mixup": mix("two images blended", "mixup"),
    "mixup_yolox": mix("half and half with a resized other", "mixup_yolox"),
    "affine": mix("turned, scaled, sheared, shifted", "affine"),
    "crops": augmentation("SSD's crops", crop_min_ious=(0.0, 0.1, 0.3, 0.5, 0.7, 0.9)),
    "no_zoom_out": augmentation("no zooming out", expand_probability=0.0),
    "no_flip": augmentation("no flips", mirror_probability=0.0),
    "ema": Change(
        "moving average of the weights",
        {"step.ema_decay": 0.98},
        "+2.3 (PP-YOLO, COCO AP, with a large batch and DropBlock)",
    ),
    "multi_scale": Change("128, 160 or 192 pixels", {"step.sizes": (128, 160, 192)}),
    "sgd": Change(
        "SGD with momentum",
        {
            "optimiser": dict(name="sgd", momentum=0.9, weight_decay=5e-4, clip_norm=10.0),
            "schedule.peak": 1e-2,
        },
    ),
    "step_decay": Change(
        "a tenth of the rate at 2/3 and 5/6",
        {
            "schedule": dict(
                name="step_decay",
                steps=STEPS,
                boundaries=(2 / 3, 5 / 6),
                peak=4e-3,
                warmup=50 / STEPS,
                warmup_start=0.1,
                epochs=0.0,
            )
        },
        f"-0.7 ({YOLOV4}: a cosine brings as much)",
    ),
}


# What happens after the network, to the baseline's own weights: greedy NMS at IoU 0.45.


def nms(purpose: str, published: str = "", **keys: Any) -> Change:
    """Other values for the evaluation."""
    return Change(purpose, {f"evaluation.{key}": value for key, value in keys.items()}, published)


NMS = {
    "nms_diou": nms("IoU less a share for the distance", nms="diou"),
    "nms_agnostic": nms("over all classes", nms="agnostic"),
    "nms_best_class": nms("an anchor's best class", nms=dict(name="greedy", best_class=True)),
    "nms_soft": nms("scores fall with a Gaussian", nms="soft"),
    "nms_soft_linear": nms("scores fall linearly", nms=dict(name="soft", method="linear")),
    "nms_iou_0.65": nms(
        "at IoU 0.65", "+0.6 (CSP's README, COCO AP, 38.0 -> 38.6)", iou_threshold=0.65
    ),
    "nms_iou_0.3": nms("at IoU 0.3", iou_threshold=0.3),
    "score_0.001": nms("scores above 0.001", score_threshold=0.001),
    "score_0.1": nms("scores above 0.1", score_threshold=0.1),
}

CHANGES = NECKS | BACKBONES | LOSSES | LAYERS | TRAINING | NMS
