"""Public PyTorch references to compare speed with, from checkouts of them.

They are lufficc/SSD and, for YOLOv2, yjh0410/PyTorch_YOLOv2; no part of them is in this project.
The environment needs torch and yacs beside jaxdet. `yolov4_peer.py` and
`yolox_peer.py` have those of YOLOv4 and YOLOX.
"""

import importlib.util
import pathlib
import sys
import types

YAML = {
    "ssd300_voc": "vgg_ssd300_voc0712",
    "ssd512_voc": "vgg_ssd512_voc0712",
    "mobilenet_v2_ssd320_voc": "mobilenet_v2_ssd320_voc0712",
    "mobilenet_v3_ssd320_voc": "mobilenet_v3_ssd320_voc0712",
    "efficientnet_b3_ssd300_voc": "efficient_net_b3_ssd300_voc0712",
}


def build(checkout: pathlib.Path, name: str):
    """The reference's config and a model with random weights for one of our recipes."""
    sys.path.insert(0, str(checkout))
    if importlib.util.find_spec("torchvision") is None:
        # The reference imports it for NMS and data loading, which are not timed.
        parts = {"ops": types.SimpleNamespace(nms=None), "transforms": None}
        stand_in = types.ModuleType("torchvision")
        stand_in.__dict__.update(parts, __version__="0.3.0")
        sys.modules["torchvision"] = stand_in
    from ssd.config import cfg
    from ssd.modeling.detector import build_detection_model

    cfg.merge_from_file(str(checkout / "configs" / f"{YAML[name]}.yaml"))
    cfg.MODEL.BACKBONE.PRETRAINED = False
    return cfg, build_detection_model(cfg)


def build_yolov2(checkout: pathlib.Path, size: int):
    """The YOLOv2 of yjh0410 with Darknet-19 and random weights, for VOC's classes."""
    import torch

    sys.path.insert(0, str(checkout))
    from config.yolov2_config import yolov2_config
    from models.yolov2 import YOLOv2

    config = {**yolov2_config["yolov2"], "pretrained": False}
    anchors = config["anchor_size"]["voc"]
    return YOLOv2(config, torch.device("cpu"), size, num_classes=20, anchor_size=anchors)
