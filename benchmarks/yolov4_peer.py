"""Tianxiaomo/pytorch-YOLOv4 to compare the speed of YOLOv4 with, from a checkout, unchanged.

Its networks are built from its cfg/yolov4.cfg and cfg/yolov4-tiny.cfg; no part of it is in this
project. The environment needs torch and easydict beside jaxdet.
"""

import contextlib
import os
import pathlib
import sys
import tempfile
from unittest import mock

import numpy as np
import peer
import torch


def inference(checkout: pathlib.Path, name: str, batch_size: int, classes: int, limits: dict):
    """Inference on noise: network, decoding and NMS.

    `limits` has the `size` of the images, the `candidates` per image and the `iou_threshold`.
    """
    model = _model(checkout, name, classes).eval()
    from tool.utils import post_processing

    images = torch.rand(batch_size, 3, limits["size"], limits["size"])
    with torch.inference_mode():
        best = model(images)[1].amax(dim=2)  # an anchor is a candidate for its best class only
    thresholds = peer.floor(best.numpy(), limits["candidates"]), limits["iou_threshold"]

    def run(calls: int) -> None:
        # It prints its own times.
        with (
            open(os.devnull, "w") as null,
            contextlib.redirect_stdout(null),
            torch.inference_mode(),
        ):
            for _ in range(calls):
                post_processing(None, *thresholds, model(images))

    return run


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
