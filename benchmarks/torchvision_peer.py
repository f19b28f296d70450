"""torchvision's SSDs to compare speed with: unchanged, and with their networks compiled.

They run channels last, autocast to bfloat16 if requested, and on a GPU if PyTorch sees one. The
environment needs torchvision beside jaxdet.
"""

from collections.abc import Callable

import numpy as np
import torch
import torchvision

MODELS = {
    "ssd300_coco_torchvision": "ssd300_vgg16",
    "ssdlite320_mobilenet_v3_coco": "ssdlite320_mobilenet_v3_large",
}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
torch.backends.cudnn.benchmark = True  # every input has the same shape


def training(name: str, batch, dtype: str, classes: int, size: int) -> dict[str, Callable]:
    """Training steps of the peers (matching to update) on images of `size`."""
    noise = np.random.default_rng(0).uniform(size=(len(batch.id), 3, size, size))
    images = list(torch.as_tensor(noise, dtype=torch.float32, device=DEVICE))
    targets = []
    for boxes, labels, mask in zip(
        batch.objects.boxes, batch.objects.labels, batch.objects.mask, strict=True
    ):
        boxes = torch.as_tensor(boxes[mask] * size, device=DEVICE)
        labels = torch.as_tensor(labels[mask], dtype=torch.int64, device=DEVICE) + 1
        targets.append({"boxes": boxes, "labels": labels})

    def step_of(model):
        optimiser = torch.optim.SGD(model.train().parameters(), 1e-3, momentum=0.9)

        def step() -> None:
            with _autocast(dtype):
                loss = sum(model(images, targets).values())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

        return _repeated(step)

    return {what: step_of(model) for what, model in _models(name, classes)}


def inference(name: str, batch_size: int, dtype: str, classes: int, size: int) -> dict:
    """Inference of the peers on noise: network, decoding and NMS."""
    images = list(torch.rand(batch_size, 3, size, size, device=DEVICE))

    def predict_of(model):
        model.eval()

        def predict() -> None:
            with torch.inference_mode(), _autocast(dtype):
                model(images)

        return _repeated(predict)

    return {what: predict_of(model) for what, model in _models(name, classes)}


def _models(name: str, classes: int):
    """The name of each peer and its model, with random weights."""
    build = getattr(torchvision.models.detection, MODELS[name])
    for what in ("peer", "compiled peer"):
        model = build(weights=None, weights_backbone=None, num_classes=classes + 1)
        model = model.to(DEVICE, memory_format=torch.channels_last)
        if what == "compiled peer":  # the rest takes lists of images, and would recompile
            model.backbone.compile()
            model.head.compile()
        yield what, model


def _autocast(dtype: str):
    return torch.autocast(DEVICE, dtype=torch.bfloat16, enabled=dtype == "bfloat16")


def _repeated(function: Callable) -> Callable:
    """A program that calls `function` several times and waits for the results."""

    def run(calls: int) -> None:
        for _ in range(calls):
            function()
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    return run
