"""Megvii-BaseDetection/YOLOX to compare the speed of YOLOX with, from a checkout, unchanged.

No part of it is in this project. The environment needs torch, torchvision (for its NMS), loguru,
tabulate, psutil and OpenCV beside jaxdet.
"""

import dataclasses
import functools
import pathlib
import sys
import tempfile

import jax
import numpy as np
import torch

from jaxdet.convert import weights, yolox

CANDIDATES = 400  # per image, for NMS


def inference(checkout: pathlib.Path, name: str, recipe, pixels: np.ndarray):
    """Its inference on `pixels` [B, H, H, 3] as a program: network, decoding and NMS.

    Also returns our detector, with the same threshold of NMS, and the same weights for it. These
    are random, with the BatchNorm statistics of `pixels`; the threshold leaves CANDIDATES anchors
    per image.
    """
    model = _model(checkout, name, len(recipe.detector.classes))
    from yolox.utils import postprocess

    images = torch.tensor(pixels).permute(0, 3, 1, 2).contiguous()
    norms = [layer for layer in model.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    for layer in norms:
        layer.momentum = 1.0
        layer.train()
    with torch.inference_mode():
        model(images)
        for layer in norms:
            layer.eval()
        found = model(images)
        best = (found[..., 4] * found[..., 5:].amax(dim=-1)).ravel()
    threshold = best.topk(CANDIDATES * len(images) + 1).values[-1].item()
    nms = recipe.detector.nms
    classes, iou = len(recipe.detector.classes), nms.keywords["iou_threshold"]

    def run(calls: int) -> None:
        with torch.inference_mode():
            for _ in range(calls):
                postprocess(model(images), classes, threshold, iou)

    limited = functools.partial(nms, score_threshold=threshold)
    return run, dataclasses.replace(recipe.detector, nms=limited), _as_ours(model, recipe)


def _model(checkout: pathlib.Path, name: str, classes: int):
    """The reference's network for one of our recipes, with random weights, for inference."""
    sys.path.insert(0, str(checkout))
    from yolox.exp import get_exp

    size = "yolov3" if "darknet53" in name else "_".join(name.split("_")[:2])  # yolox_s_coco
    exp = get_exp(str(checkout / "exps" / "default" / f"{size}.py"))
    exp.num_classes = classes
    torch.manual_seed(0)
    return exp.get_model().eval()


def _as_ours(model, recipe):
    """The variables of our network with the reference's weights, as `jaxdet convert` reads them."""
    shapes = jax.eval_shape(recipe.detector.init, jax.random.key(0))
    with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        torch.save({"model": model.state_dict()}, file.name)
        entries = weights.entries(file.name, yolox, recipe.model, shapes)
    return weights.fill(entries, shapes)[0]
