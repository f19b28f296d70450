"""Speed of the whole training step of a recipe, augmentation included: pictures a second.

    python benchmarks/train_step.py --config=configs/mobilenet_v2_ssd320_voc.py --batch_size=8
    python benchmarks/train_step.py --config=configs/ssd300_voc.py --batch_size=8 --peer=SSD

Pictures are random, 375x500 on the recipe's canvas, three objects each. On an accelerator add
--dtype=bfloat16 and --peak_tflops=989 (an H200's dense bfloat16 peak) for the share of the peak.
`--peer` is a checkout of the public PyTorch reference (lufficc/SSD); its step (no augmentation) is
timed in turn with ours, and the ratio printed. Both then keep the memory that they free, as
`jaxdet.main` does; MALLOC_TOP_PAD_=131072 before the command (the default) leaves both alone.
"""

from jaxdet import memory

memory.keep_freed()  # as `jaxdet.main` does, before numpy starts threads

import argparse
import pathlib
import time

import jax
import numpy as np
import peer
from timing import read_recipe, report

from jaxdet import build, doctor, run, state
from jaxdet.detectors.detector import Detector
from jaxdet.step import train_step
from jaxdet.types import Batch, Objects

CLASSES = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", required=True)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--peak_tflops", type=float)
    parser.add_argument("--peer", type=pathlib.Path)
    options = parser.parse_args()

    config = read_recipe(options.config)
    config.model.dtype = options.dtype
    name = pathlib.Path(options.config).stem
    batch = random_batch(options.batch_size, config.data.canvas)
    detector = build.detector(config, tuple(f"class {i}" for i in range(CLASSES)))
    ours, flops = make_ours(config, detector, batch), doctor.step_flops(detector, len(batch.id))
    theirs = make_peer(options.peer, name, batch) if options.peer else None
    ours_times, peer_times = [], []
    for _ in range(options.repeats):  # in turn, so that both meet the same machine
        ours_times.append(seconds(ours))
        if theirs:
            peer_times.append(seconds(theirs))
    rate = options.batch_size / np.median(ours_times)
    more = {"batch": options.batch_size, "dtype": options.dtype, "gflop_a_step": flops / 1e9}
    if options.peak_tflops:
        more["share_of_peak"] = flops / np.median(ours_times) / options.peak_tflops / 1e12
    report(f"train_step/{name}", rate, "pictures/s", **more)
    if theirs:
        their_rate = options.batch_size / np.median(peer_times)
        report(f"train_step/{name}/peer", their_rate, "pictures/s", batch=options.batch_size)
        ratio = np.median(np.divide(peer_times, ours_times))
        report(f"train_step/{name}/ratio", ratio, "times the peer's speed")


def seconds(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def random_batch(size: int, canvas: int) -> Batch:
    """Noise, with three objects a picture."""
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


def make_ours(config, detector: Detector, batch: Batch):
    """Our step as a function without arguments that waits for its result."""
    variables = detector.init(jax.random.key(0))
    tx = run.optimiser(config)
    step = train_step(detector, tx, run.train_view(config, detector.size), seed=0)
    now = state.create(variables, tx, ema=False)
    compiled = jax.jit(step, donate_argnums=0).lower(now, batch).compile()
    batch = jax.device_put(batch)
    holder = [now]

    def once() -> None:
        holder[0], scalars = compiled(holder[0], batch)
        jax.block_until_ready(scalars)

    once()
    return once


def make_peer(checkout: pathlib.Path, name: str, batch: Batch):
    """The reference's forward, loss, backward and update on pictures of the same size."""
    import torch

    cfg, model = peer.build(checkout, name)
    from ssd.solver.build import make_optimizer

    model.train()
    optimiser = make_optimizer(cfg, model, 1e-3)
    images = torch.rand(len(batch.id), 3, cfg.INPUT.IMAGE_SIZE, cfg.INPUT.IMAGE_SIZE) * 255 - 110
    targets = peer_targets(cfg, batch)

    def once() -> None:
        loss = sum(model(images, targets=targets).values())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    once()
    return once


def peer_targets(cfg, batch: Batch):
    """The matched targets of the batch, which the reference makes in its data loader."""
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
