"""Weights that others publish, by name: where they are, under which licence, and their checksums.

Classifiers are what a run starts from (`init_from=imagenet`, `init_from=torchvision:vgg16`);
detectors are converted (`python -m jaxdet.convert --from=yolov3-tiny`). A checksum is the SHA-256
of the file, or its first digits where the publisher puts those into the file's name. Where neither
is known it is empty, and what was downloaded cannot be verified.
"""

import dataclasses
import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any

IMAGENET = "imagenet"  # the name that stands for the classifier that suits a recipe best


@dataclasses.dataclass(frozen=True)
class Published:
    """A file of weights that somebody publishes."""

    name: str
    address: str
    sha256: str  # all 64 digits, the first eight, or none
    licence: str
    backbone: str = ""  # of a classifier: the backbone it initialises
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # that it was trained with
    scale: float = 0.0  # of a classifier: what pixels are divided by, if its name stands for more
    source: str = ""  # of a detector: whose names it has
    recipe: str = ""  # and the recipe that it fits

    @property
    def file(self) -> str:
        """The name of the file."""
        return self.address.rpartition("/")[2]


_TORCH = "https://download.pytorch.org/models/"
_TIMM = "https://github.com/huggingface/pytorch-image-models/releases/download/v0.1-weights/"
_RES2NET = "https://shanghuagao.oss-cn-beijing.aliyuncs.com/res2net/"
_REDMON = "https://pjreddie.com/media/files/"
_ALEXEY = "https://github.com/AlexeyAB/darknet/releases/download/"
_LUFFICC = "https://github.com/lufficc/SSD/releases/download/1.2/"
_MMDET = "https://download.openmmlab.com/mmdetection/v2.0/"
_AMDEGROOT = "https://s3.amazonaws.com/amdegroot-models/"

_BSD, _APACHE, _MIT = "BSD-3-Clause", "Apache-2.0", "MIT"
_PUBLIC = "public domain (Darknet's licence)"
_RES2NET_SAYS = "for research, see github.com/Res2Net/Res2Net-PretrainedModels"


def _classifier(name, address, sha256, licence, backbone, scale=0.0, **options) -> Published:
    known = dict(backbone=backbone, scale=scale, options=options)
    return Published(name, address, sha256, licence, **known)


def _torchvision(file: str, backbone: str, **options: Any) -> Published:
    name, _, digits = file.removesuffix(".pth").rpartition("-")
    name = f"torchvision:{name}"
    return _classifier(name, f"{_TORCH}{file}", digits, _BSD, backbone, 58.4, **options)


# Of several for one backbone, the first whose scale and options fit is that called "imagenet".
CLASSIFIERS = (
    _torchvision("vgg16-397923af.pth", "vgg16"),
    _classifier("caffe:vgg16", f"{_AMDEGROOT}vgg16_reducedfc.pth", "", _MIT, "vgg16", 1.0),
    _torchvision("vgg16-397923af.pth", "vgg16_features"),
    _torchvision("resnet50-0676ba61.pth", "resnet50"),
    _torchvision("mobilenet_v2-b0353104.pth", "mobilenet_v2"),
    _torchvision("mobilenet_v3_large-8738ca79.pth", "mobilenet_v3", squeeze_first=False),
    _classifier(
        "lufficc:mobilenet_v3",
        "https://github.com/d-li14/mobilenetv3.pytorch/raw/master/pretrained/"
        "mobilenetv3-large-1cd25616.pth",
        "1cd25616",
        _MIT,
        "mobilenet_v3",
        58.4,
        squeeze_first=True,
    ),
    _classifier(
        "lufficc:efficientnet_b3",
        "https://storage.googleapis.com/public-models/efficientnet-b3-c8376fa2.pth",
        "c8376fa2",
        _APACHE,
        "efficientnet_b3",
        58.4,
    ),
    _torchvision("efficientnet_b3_rwightman-b3899882.pth", "efficientnet_b3"),
    _classifier(
        "timm:mobilenetv2_100",
        f"{_TIMM}mobilenetv2_100_ra-b33bc2c4.pth",
        "b33bc2c4",
        _APACHE,
        "mobilenet_v2",
    ),
    _classifier(
        "timm:mobilenetv3_large_100",
        f"{_TIMM}mobilenetv3_large_100_ra-f55367f5.pth",
        "f55367f5",
        _APACHE,
        "mobilenet_v3",
        squeeze_first=False,
    ),
    _classifier(
        "res2net:res2net50",
        f"{_RES2NET}res2net50_26w_4s-06e79181.pth",
        "06e79181",
        _RES2NET_SAYS,
        "res2net50",
        58.4,
    ),
    _classifier(
        "res2net:res2net50_v1b",
        f"{_RES2NET}res2net50_v1b_26w_4s-3cf99910.pth",
        "3cf99910",
        _RES2NET_SAYS,
        "res2net50_v1b",
        58.4,
    ),
    _classifier(
        "peleenet:peleenet",
        "https://github.com/Robert-JunWang/PeleeNet/raw/master/weights/peleenet_acc7208.pth.tar",
        "",
        _APACHE,
        "peleenet",
        58.4,
    ),
    _classifier(
        "darknet:darknet19", f"{_REDMON}darknet19_448.conv.23", "", _PUBLIC, "darknet19", 255.0
    ),
    _classifier(
        "darknet:darknet53", f"{_REDMON}darknet53.conv.74", "", _PUBLIC, "darknet53", 255.0
    ),
    # The first layers of detectors of COCO.
    _classifier(
        "darknet:yolov4",
        f"{_ALEXEY}darknet_yolo_v3_optimal/yolov4.conv.137",
        "",
        _PUBLIC,
        "cspdarknet53",
    ),
    _classifier(
        "darknet:yolov4-tiny",
        f"{_ALEXEY}darknet_yolo_v4_pre/yolov4-tiny.conv.29",
        "",
        _PUBLIC,
        "cspdarknet53_tiny",
    ),
)


def _detectors(
    source: str, licence: str, files: Mapping[str, tuple[str, str, str]]
) -> list[Published]:
    """`files`: name -> address, checksum ("name": in the file's name), recipe."""
    found = []
    for name, (address, sha256, recipe) in files.items():
        if sha256 == "name":
            sha256 = address.removesuffix(".pth").rpartition("-")[2]
        found.append(Published(name, address, sha256, licence, source=source, recipe=recipe))
    return found


_tv = lambda file, recipe: (f"{_TORCH}{file}.pth", "name", recipe)
_lufficc = lambda file, recipe: (f"{_LUFFICC}{file}.pth", "", recipe)

DETECTORS = (
    *_detectors(
        "torchvision",
        _BSD,
        {
            "ssd300": _tv("ssd300_vgg16_coco-b556d3b4", "ssd300_coco_torchvision"),
            "ssdlite320": _tv(
                "ssdlite320_mobilenet_v3_large_coco-a79551df", "ssdlite320_mobilenet_v3_coco"
            ),
            "faster_rcnn_resnet50_fpn": _tv(
                "fasterrcnn_resnet50_fpn_coco-258fb6c6", "faster_rcnn_resnet50_fpn_coco"
            ),
            "faster_rcnn_resnet50_fpn_v2": _tv(
                "fasterrcnn_resnet50_fpn_v2_coco-dd69338a", "faster_rcnn_resnet50_fpn_v2_coco"
            ),
            "faster_rcnn_mobilenet_v3_320_fpn": _tv(
                "fasterrcnn_mobilenet_v3_large_320_fpn-907ea3f9",
                "faster_rcnn_mobilenet_v3_320_fpn_coco",
            ),
            "retinanet_resnet50_fpn": _tv(
                "retinanet_resnet50_fpn_coco-eeacb38b", "retinanet_resnet50_fpn_coco"
            ),
        },
    ),
    *_detectors(
        "darknet",
        _PUBLIC,
        {
            "yolov2": (
                f"{_REDMON}yolov2.weights",
                "d9945162ed6f54ce1a901e3ec537bdba4d572ecae7873087bd730e5a7942df3f",
                "yolov2_darknet19_608_coco",
            ),
            "yolov3": (
                f"{_REDMON}yolov3.weights",
                "523e4e69e1d015393a1b0a441cef1d9c7659e3eb2d7e15f793f060a21b32f297",
                "yolov3_darknet53_416_coco",
            ),
            "yolov3-spp": (
                f"{_REDMON}yolov3-spp.weights",
                "87a1e8c85c763316f34e428f2295e1db9ed4abcec59dd9544f8052f50de327b4",
                "yolov3_spp_608_coco",
            ),
            "yolov3-tiny": (
                f"{_REDMON}yolov3-tiny.weights",
                "dccea06f59b781ec1234ddf8d1e94b9519a97f4245748a7d4db75d5b7080a42c",
                "yolov3_tiny_416_coco",
            ),
            "yolov4": (
                f"{_ALEXEY}darknet_yolo_v3_optimal/yolov4.weights",
                "e8a4f6c62188738d86dc6898d82724ec0964d0eb9d2ae0f0a9d53d65d108d562",
                "yolov4_608_coco",
            ),
            "yolov4-tiny": (
                f"{_ALEXEY}darknet_yolo_v4_pre/yolov4-tiny.weights",
                "037676f0d929c24e1bd9a0037fe30dc416fc26e0ca2a4491a44d024873316061",
                "yolov4_tiny_416_coco",
            ),
        },
    ),
    *_detectors(
        "lufficc",
        _MIT,
        {
            "lufficc:ssd300": _lufficc("vgg_ssd300_voc0712", "ssd300_voc"),
            "lufficc:ssd512": _lufficc("vgg_ssd512_voc0712", "ssd512_voc"),
            "lufficc:mobilenet_v2_ssd320": _lufficc(
                "mobilenet_v2_ssd320_voc0712_v2", "mobilenet_v2_ssd320_voc"
            ),
            "lufficc:mobilenet_v3_ssd320": _lufficc(
                "mobilenet_v3_ssd320_voc0712", "mobilenet_v3_ssd320_voc"
            ),
            "lufficc:efficientnet_b3_ssd300": _lufficc(
                "efficient_net_b3_ssd300_voc0712", "efficientnet_b3_ssd300_voc"
            ),
        },
    ),
    *_detectors(
        "mmdet",
        _APACHE,
        {
            "mmdet:ssd300": (
                f"{_MMDET}ssd/ssd300_coco/ssd300_coco_20210803_015428-d231a06e.pth",
                "name",
                "ssd300_coco_mmdet",
            ),
            "mmdet:ssd512": (
                f"{_MMDET}ssd/ssd512_coco/ssd512_coco_20210803_022849-0a47a1ca.pth",
                "name",
                "ssd512_coco_mmdet",
            ),
        },
    ),
    *_detectors(
        "caffe_vgg",
        _MIT,
        {"caffe:ssd300": (f"{_AMDEGROOT}ssd300_mAP_77.43_v2.pth", "", "ssd300_voc")},
    ),
)


def is_name(text: str) -> bool:
    """Whether a text is the name of classifiers, right or misspelt, rather than a path."""
    whose = {each.name.partition(":")[0] for each in CLASSIFIERS}
    return text == IMAGENET or text.partition(":")[0] in whose and ":" in text


def classifier(name: str, model: Mapping[str, Any]) -> Published:
    """The classifier of that name for the `model` block of a recipe.

    ValueError if there is none for its backbone, or if it was trained with other options.
    """
    block = model["backbone"]
    block = {"name": block} if isinstance(block, str) else dict(block)
    fitting = [each for each in CLASSIFIERS if each.backbone == block["name"]]
    if name == IMAGENET:
        able = [each for each in fitting if each.scale and _suits(each, block)]
        if not able:
            known = sorted({each.backbone for each in CLASSIFIERS if each.scale})
            raise ValueError(
                f"no ImageNet classifier is published for config.model.backbone {block['name']!r}; "
                f"there is one for {', '.join(known)}"
            )
        return min(able, key=lambda each: abs(math.log(each.scale / float(model["scale"][0]))))
    found = _named(name, fitting, CLASSIFIERS, f"for config.model.backbone {block['name']!r}")
    if not _suits(found, block):
        raise ValueError(f"{name} was trained with {dict(found.options)} in config.model.backbone")
    return found


def detector(name: str) -> Published:
    """The detector of that name; ValueError, with the closest one, if there is none."""
    return _named(name, DETECTORS, DETECTORS, "among the published detectors")


def _suits(each: Published, block: Mapping[str, Any]) -> bool:
    return all(block.get(key, value) == value for key, value in each.options.items())


def _named(
    name: str, fitting: Iterable[Published], every: Iterable[Published], where: str
) -> Published:
    known = {each.name: each for each in fitting}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known) or 'none'}"
    said = f"{name} is not" if name in {each.name for each in every} else f"there is no {name}"
    raise ValueError(f"{said} {where}; {hint}")
