"""Times the input path on the device: one JSON line per figure, in milliseconds per image.

    python benchmarks/augment.py [--batch 32] [--canvas 512] [--output 300] [--repeats 20]

Images are noise of 500 x 375 on the canvas, with three objects each, padded to 64.
"""

import argparse
from functools import partial

import jax
import numpy as np
from timing import median_ms, report

from jaxdet.augment import colour, crops, fit, views
from jaxdet.types import Batch, Objects

MEAN = (123.0, 117.0, 104.0)  # the fill of SSD300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--canvas", type=int, default=512)
    parser.add_argument("--output", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()

    key = jax.random.key(0)
    batch = jax.device_put(make_batch(arguments.batch, arguments.canvas))
    how = dict(output=arguments.output, fit=fit.stretch, fill=MEAN)
    choices = dict(window=crops.expand_and_crop, colour=colour.distort)
    train = jax.jit(partial(views.train_view, **how, **choices))
    evaluate = jax.jit(jax.vmap(partial(views.eval_view, **how)))
    for name, view, inputs in (
        ("train_view", train, (key, batch)),
        ("eval_view", evaluate, (batch.image, batch.size)),
    ):
        ms = median_ms(view, *inputs, repeats=arguments.repeats) / arguments.batch
        name = f"{name}_{arguments.canvas}_to_{arguments.output}"
        report(name, ms, "ms/image", batch=arguments.batch)


def make_batch(batch: int, canvas: int) -> Batch:
    """Noise of 500 x 375 (or as much as fits the canvas) with three objects per image."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (batch, canvas, canvas, 3), dtype=np.uint8)
    size = np.tile(np.array([375, 500], np.int32), (batch, 1))
    mask = np.zeros((batch, 64), bool)
    mask[:, :3] = True
    corners = np.sort(rng.uniform(size=(batch, 64, 2, 2)), axis=2).reshape(batch, 64, 4)
    objects = Objects(
        boxes=np.where(mask[..., None], corners, 0).astype(np.float32),
        labels=np.zeros((batch, 64), np.int32),
        mask=mask,
        weight=mask.astype(np.float32),
    )
    valid = np.ones(batch, bool)
    return Batch(image, np.minimum(size, canvas), objects, id=np.arange(batch), valid=valid)


if __name__ == "__main__":
    main()
