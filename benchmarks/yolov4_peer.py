"""Tianxiaomo/pytorch-YOLOv4 to compare the speed of YOLOv4 with, from a checkout, unchanged.

Its networks are built from its cfg/yolov4.cfg and cfg/yolov4-tiny.cfg; no part of it is in this
project. The environment needs torch and easydict beside jaxdet.
"""

import contextlib
import dataclasses
import functools
import os
import pathlib
import sys
import tempfile
from unittest import mock

import jax
import numpy as np
import torch

from jaxdet.convert import darknet, weights

CANDIDATES = 400  # per image, for NMS


def inference(checkout: pathlib.Path, name: str, recipe, pixels: np.ndarray):
    """Its inference on `pixels` [B, H, H, 3] as a program: network, decoding and NMS.

    Also returns our detector, with the same threshold of NMS, and the same weights for it. These
    are random, with the BatchNorm statistics of `pixels`: otherwise values vanish or explode over
    a hundred layers, and scores are all alike. The threshold leaves CANDIDATES anchors per image.
    """
    model = _model(checkout, name, len(recipe.detector.classes))
    from tool.utils import post_processing

    images = torch.tensor(pixels).permute(0, 3, 1, 2).contiguous() / 255
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.inference_mode():
        model.train()(images)
        best = model.eval()(images)[1].amax(dim=2).ravel()  # it takes an anchor's best class only
    threshold = best.topk(CANDIDATES * len(images) + 1).values[-1].item()
    nms = recipe.detector.nms

    def run(calls: int) -> None:
        # It prints its own times.
        with (
            open(os.devnull, "w") as null,
            contextlib.redirect_stdout(null),
            torch.inference_mode(),
        ):
            for _ in range(calls):
                post_processing(None, threshold, nms.keywords["iou_threshold"], model(images))

    limited = functools.partial(nms, score_threshold=threshold)
    return run, dataclasses.replace(recipe.detector, nms=limited), _as_ours(model, recipe)


def training(checkout: pathlib.Path, name: str, batch, classes: int, size: int):
    """Training steps on images of `size`: network, targets, loss, gradients and SGD's update.

    The reference's `Yolo_loss` has the strides, priors and grids of yolov4.cfg at 608 pixels in its
    constructor, so these are replaced by those of the network in use; the targets and losses are
    the reference's. Its targets take the index of a prior in its level to be the remainder of its
    number by three, and priors are given in that order. Unlike ours it has one prior per object
    for YOLOv4, too, and squared errors for boxes instead of CIoU.
    """
    model = _model(checkout, name, classes).train()
    for part in ("utils", "coco_utils", "coco_eval"):  # its evaluation needs torch before 1.9
        sys.modules[f"tool.tv_reference.{part}"] = mock.MagicMock()
    import train

    criterion = train.Yolo_loss(n_classes=classes, batch=1)
    layers = [layer for layer in model.models if type(layer).__name__ == "YoloLayer"]
    _fit(criterion, layers, size)
    # It is written for torch 1.4, whose `clone` returned what `view` can flatten.
    targets = criterion.build_target
    criterion.build_target = lambda boxes, *more: targets(boxes.contiguous(), *more)
    optimiser = torch.optim.SGD(
        model.parameters(), 2.61e-3 / len(batch.id), momentum=0.9, weight_decay=5e-4
    )
    images = torch.rand(len(batch.id), 3, size, size)
    objects = batch.objects
    labels = np.concatenate([objects.boxes * size, objects.labels[..., None]], axis=-1)
    labels = torch.as_tensor(labels, dtype=torch.float32)  # [B, N, 5]; zeros are no objects

    def steps(calls: int) -> None:
        for _ in range(calls):
            loss, *_ = criterion(model(images), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return steps


def _model(checkout: pathlib.Path, name: str, classes: int):
    """The reference's network for one of our recipes, with random weights."""
    sys.path.insert(0, str(checkout))
    from tool.darknet2pytorch import Darknet

    cfg = checkout / "cfg" / ("yolov4-tiny.cfg" if "tiny" in name else "yolov4.cfg")
    text = cfg.read_text().replace("classes=80", f"classes={classes}")
    with tempfile.NamedTemporaryFile("w", suffix=".cfg") as file:
        file.write(text.replace("filters=255", f"filters={3 * (5 + classes)}"))
        file.flush()
        return Darknet(file.name)


def _fit(criterion, layers, size: int) -> None:
    """Gives the loss the levels of the network's layers, in their order."""
    criterion.strides = [layer.stride for layer in layers]
    criterion.anch_masks = [sorted(layer.anchor_mask, key=lambda i: i % 3) for layer in layers]
    criterion.masked_anchors, criterion.ref_anchors = [], []
    criterion.grid_x, criterion.grid_y = [], []
    criterion.anchor_w, criterion.anchor_h = [], []
    for layer, mask in zip(layers, criterion.anch_masks, strict=True):
        priors = torch.tensor(layer.anchors).reshape(-1, 2) / layer.stride
        cells = torch.arange(size // layer.stride, dtype=torch.float32)
        criterion.masked_anchors.append(priors[mask].numpy())
        criterion.ref_anchors.append(torch.cat([torch.zeros_like(priors), priors], dim=1))
        criterion.grid_x.append(cells)
        criterion.grid_y.append(cells[:, None])
        criterion.anchor_w.append(priors[mask, :1, None])
        criterion.anchor_h.append(priors[mask, 1:, None])


def _as_ours(model, recipe):
    """The variables of our network with the reference's weights, through Darknet's format."""
    shapes = jax.eval_shape(recipe.detector.init, jax.random.key(0))
    with tempfile.NamedTemporaryFile(suffix=".weights") as file:
        np.array([0, 2, 0, 0, 0], np.int32).tofile(file)  # version 0.2.0, no images seen
        for layer in model.models:
            if isinstance(layer, torch.nn.Sequential):
                conv, norm = layer[0], layer[1]
                arrays = [conv.bias, conv.weight]
                if isinstance(norm, torch.nn.BatchNorm2d):
                    arrays = [norm.bias, norm.weight, norm.running_mean, norm.running_var]
                    arrays.append(conv.weight)
                for array in arrays:
                    array.detach().numpy().tofile(file)
        file.flush()
        entries = weights.entries(file.name, darknet, recipe.model, shapes)
    return weights.fill(entries, shapes)[0]
