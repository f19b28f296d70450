"""Speed of Faster R-CNN beside torchvision's, with the same weights: inference and training.

    python benchmarks/rcnn.py --config=configs/faster_rcnn_mobilenet_v3_320_fpn_coco.py \
        --weights=WEIGHTS.safetensors --height=320 --width=448
    python benchmarks/rcnn.py ... --train --batch_size=4

`--weights` is a state dict of torchvision's model with 91 classes; random ones would find nothing,
and leave no work to NMS. Inference has proposals and NMS; a training step has targets, both stages
and the update, with frozen normalisations on both sides, and no augmentation. The environment needs
torchvision beside jaxdet.
"""

from jaxdet.training import allocator

allocator.keep_freed()  # as `jaxdet.main` does, before numpy starts threads

import argparse
import pathlib

import jax
import numpy as np
import torch
import torchvision
from safetensors.torch import load_file
from timing import report, seconds_in_turn

from jaxdet import build, recipes
from jaxdet.convert import torchvision as names
from jaxdet.convert import weights
from jaxdet.training import state
from jaxdet.training.step import train_step
from jaxdet.types import Objects

MODELS = {
    "faster_rcnn_mobilenet_v3_320_fpn_coco": "fasterrcnn_mobilenet_v3_large_320_fpn",
    "faster_rcnn_resnet50_fpn_coco": "fasterrcnn_resnet50_fpn",
    "faster_rcnn_resnet50_fpn_v2_coco": "fasterrcnn_resnet50_fpn_v2",
}
OBJECTS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--height", type=int, default=320)
    parser.add_argument("--width", type=int, default=448)
    parser.add_argument("--batch_size", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--train", action="store_true")
    options = parser.parse_args()
    name, rng = pathlib.Path(options.config).stem, np.random.default_rng(0)
    pixels = rng.uniform(0, 255, (options.batch_size, options.height, options.width, 3))
    pixels = pixels.astype(np.float32)
    kind = "train" if options.train else "predict"
    make = (ours_training, peer_training) if options.train else (ours_inference, peer_inference)
    programs = {
        "ours": make[0](options, pixels),
        "torchvision": make[1](options, MODELS[name], pixels),
    }
    times = seconds_in_turn(programs, repeats=options.repeats)
    more = dict(batch=options.batch_size, shape=f"{options.height}x{options.width}")
    for what, seconds in times.items():
        ms = 1e3 * np.median(seconds) / options.batch_size
        report(f"{kind}/{name}/{what}", ms, "ms/image", **more)
    ratio = np.median(np.divide(times["torchvision"], times["ours"]))
    report(f"{kind}/{name}/ratio", ratio, "times the speed of torchvision", **more)


def ours(options):
    """Our recipe and the variables from the file."""
    config = recipes.read(options.config)
    recipe = build.recipe(config, tuple(f"class {i}" for i in range(90)))
    given = names.rearrange(weights.read(options.weights), unused=())
    table = names.MODELS[recipe.model]
    shapes = jax.eval_shape(recipe.detector.init, jax.random.key(0))
    variables, _ = weights.fill(weights.renamed(given, table), shapes)
    return recipe, variables


def ours_inference(options, pixels):
    recipe, variables = ours(options)
    predict = jax.jit(recipe.detector.predict)
    variables, pixels = jax.device_put((variables, pixels))

    def run(calls: int) -> None:
        jax.block_until_ready([predict(variables, pixels) for _ in range(calls)])

    return run


def ours_training(options, pixels):
    recipe, variables = ours(options)
    boxes, labels = truth(len(pixels))
    mask = np.ones(labels.shape, bool)
    whole = np.tile(np.float32([0, 0, 1, 1]), (len(pixels), 1))
    objects = Objects(boxes, labels, mask, mask.astype(np.float32))
    view = lambda key, batch: batch
    step = train_step(recipe.detector, recipe.optimiser, view, frozen=recipe.step.frozen)
    now = state.create(variables, recipe.optimiser, ema=False)
    compiled = jax.jit(step, donate_argnums=0)
    batch, holder = jax.device_put((pixels, objects, whole)), [jax.device_put(now)]

    def run(calls: int) -> None:
        for _ in range(calls):
            holder[0], scalars = compiled(holder[0], batch, np.uint32(0))
        jax.block_until_ready(scalars)

    return run


def truth(count: int):
    """Boxes [B, N, 4] in 0..1 and labels [B, N]."""
    rng = np.random.default_rng(1)
    low = rng.uniform(0, 0.6, (count, OBJECTS, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.1, 0.4, low.shape)], axis=-1)
    return boxes.astype(np.float32), rng.integers(0, 90, (count, OBJECTS)).astype(np.int32)


def peer(options, name: str):
    """torchvision's model with the file's weights; inputs are not resized."""
    sides = dict(min_size=min(options.height, options.width))
    sides["max_size"] = max(options.height, options.width)
    make = getattr(torchvision.models.detection, name)
    model = make(weights=None, weights_backbone=None, num_classes=91, **sides)
    model.load_state_dict(load_file(options.weights), strict=False)
    return model.to(memory_format=torch.channels_last)


def images_of(pixels) -> list:
    return list(torch.as_tensor(pixels).permute(0, 3, 1, 2) / 255)


def peer_inference(options, name, pixels):
    model, images = peer(options, name).eval(), images_of(pixels)

    def run(calls: int) -> None:
        with torch.inference_mode():
            for _ in range(calls):
                model(images)

    return run


def peer_training(options, name, pixels):
    model, images = peer(options, name).train(), images_of(pixels)
    for module in model.backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # as the released models, frozen
            module.eval().requires_grad_(False)
    if "resnet50" in name:
        for layer in ("conv1", "layer1"):
            getattr(model.backbone.body, layer).requires_grad_(False)
    boxes, labels = truth(len(pixels))
    sides = np.tile([options.width, options.height], 2)
    targets = [
        {"boxes": torch.as_tensor(b * sides).float(), "labels": torch.as_tensor(n + 1).long()}
        for b, n in zip(boxes, labels, strict=True)
    ]
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(trained, 1e-4, momentum=0.9, weight_decay=1e-4)

    def run(calls: int) -> None:
        for _ in range(calls):
            loss = sum(model(images, targets).values())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return run


if __name__ == "__main__":
    main()
