"""Speed of the whole training step of a recipe, with augmentation: images per second.

    python benchmarks/train_step.py --config=configs/mobilenet_v2_ssd320_voc.py --batch_size=8
    python benchmarks/train_step.py --config=configs/ssd300_voc.py --peer=SSD
    python benchmarks/train_step.py --config=configs/ssd300_coco_torchvision.py --peer=torchvision \
        --dtype=bfloat16 --batch_size=64

Images are random, 375x500 on the recipe's canvas, with three objects each. Where the device's peak
is known, the share of it is printed too. `--peer` is a checkout of the public PyTorch reference
(lufficc/SSD; for YOLOv4 Tianxiaomo/pytorch-YOLOv4), or torchvision, unchanged and compiled; its
steps (without augmentation; torchvision and YOLOv4 match) are timed in alternation with ours, and
the ratio is printed. Both then keep freed memory, as `jaxdet.main` does; MALLOC_TOP_PAD_=131072
before the command (glibc's default) leaves both alone. On a GPU, XLA_PYTHON_CLIENT_MEM_FRACTION=0.4
before it leaves memory for the peer.
"""

from jaxdet.training import allocator

allocator.keep_freed()  # as `jaxdet.main` does, before numpy starts threads

import argparse
import pathlib

import jax
import numpy as np
import peer
from timing import report, seconds_in_turn

from jaxdet import build, doctor, recipes
from jaxdet.engine import step_cost
from jaxdet.training import state
from jaxdet.training.step import train_step
from jaxdet.types import Batch, Objects

CLASSES = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", required=True)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--peer", type=pathlib.Path)
    options = parser.parse_args()

    config = recipes.read(options.config)
    config.model.dtype = options.dtype
    name = pathlib.Path(options.config).stem
    batch = random_batch(options.batch_size, config.data.canvas)
    recipe = build.recipe(config, tuple(f"class {i}" for i in range(CLASSES)))
    detector = recipe.detector
    programs = {"ours": make_ours(recipe, batch)}
    if options.peer == pathlib.Path("torchvision"):
        import torchvision_peer

        programs |= torchvision_peer.training(name, batch, options.dtype, CLASSES, detector.size)
    elif options.peer and name.startswith("yolov4"):
        import yolov4_peer

        shapes = CLASSES, detector.size
        programs["peer"] = yolov4_peer.training(options.peer, name, batch, *shapes)
    elif options.peer:
        programs["peer"] = make_peer(options.peer, name, batch)
    times = seconds_in_turn(programs, repeats=options.repeats)
    report_all(name, times, options, doctor.step_flops(detector, options.batch_size))


def report_all(name: str, times: dict[str, list[float]], options, flops: float) -> None:
    """Our speed, then that of each peer and the ratio of ours to it."""
    ours, more = times["ours"], {"batch": options.batch_size, "dtype": options.dtype}
    rate = lambda seconds: options.batch_size / np.median(seconds)
    work = {"gflop_a_step": flops / 1e9}
    if peak := step_cost.PEAK.get(jax.devices()[0].device_kind):
        work["share_of_peak"] = flops / np.median(ours) / peak
    report(f"train_step/{name}", rate(ours), "images/s", **more, **work)
    for what in [what for what in times if what != "ours"]:
        report(f"train_step/{name}/{what}", rate(times[what]), "images/s", **more)
        ratio, said = np.median(np.divide(times[what], ours)), f"times the speed of the {what}"
        report(f"train_step/{name}/ratio", ratio, said, **more)


def random_batch(size: int, canvas: int) -> Batch:
    """Noise, with three objects per image."""
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 0.6, (size, 64, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.1, 0.4, low.shape)], axis=-1)
    mask = np.tile(np.arange(64) < 3, (size, 1))
    image = np.zeros((size, canvas, canvas, 3), np.uint8)
    image[:, :375, :500] = rng.integers(0, 256, (size, 375, 500, 3))
    return Batch(
        image=image,
        size=np.tile(np.array([375, 500], np.int32), (size, 1)),
        objects=Objects(
            boxes=np.where(mask[..., None], boxes, 0).astype(np.float32),
            labels=np.where(mask, rng.integers(0, CLASSES, mask.shape), 0).astype(np.int32),
            mask=mask,
            weight=mask.astype(np.float32),
        ),
        id=np.arange(size, dtype=np.int32),
        valid=np.ones(size, bool),
    )


def make_ours(recipe: build.Recipe, batch: Batch):
    """Our step, as a function that runs it several times and waits for the last result."""
    detector, tx = recipe.detector, recipe.optimiser
    variables = detector.init(jax.random.key(0))
    step = train_step(detector, tx, recipe.view_at(detector.size))
    now = state.create(variables, tx, ema=False)
    compiled = jax.jit(step, donate_argnums=0).lower(now, batch, np.uint32(0)).compile()
    batch = jax.device_put(batch)
    holder = [now]

    def steps(calls: int) -> None:
        for _ in range(calls):
            holder[0], scalars = compiled(holder[0], batch, np.uint32(0))
        jax.block_until_ready(scalars)

    return steps


def make_peer(checkout: pathlib.Path, name: str, batch: Batch):
    """The reference's forward, loss, backward and update on images of the same size."""
    import torch

    cfg, model = peer.build(checkout, name)
    from ssd.solver.build import make_optimizer

    model.train()
    optimiser = make_optimizer(cfg, model, 1e-3)
    images = torch.rand(len(batch.id), 3, cfg.INPUT.IMAGE_SIZE, cfg.INPUT.IMAGE_SIZE) * 255 - 110
    targets = peer_targets(cfg, batch)

    def steps(calls: int) -> None:
        for _ in range(calls):
            loss = sum(model(images, targets=targets).values())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return steps


def peer_targets(cfg, batch: Batch):
    """The matched targets of the batch, which the reference computes in its data loader."""
    import torch
    from ssd.data.transforms.target_transform import SSDTargetTransform
    from ssd.modeling.anchors.prior_box import PriorBox

    match = SSDTargetTransform(PriorBox(cfg)(), 0.1, 0.2, 0.5)
    pairs = [
        match(boxes[mask], labels[mask] + 1)
        for boxes, labels, mask in zip(
            batch.objects.boxes, batch.objects.labels, batch.objects.mask, strict=True
        )
    ]
    boxes, labels = zip(*pairs, strict=True)
    stack = lambda arrays: torch.stack([torch.as_tensor(array) for array in arrays])
    return {"boxes": stack(boxes), "labels": stack(labels).long()}


if __name__ == "__main__":
    main()
