"""Times SimOTA's assignment for a batch, and YOLOX's losses with their slopes: one JSON line each.

    python benchmarks/simota.py [--batch 8] [--objects 30] [--size 640] [--tpu]

Predictions and objects are drawn from a seed. The slopes are those of the summed losses. With
`--tpu` the times are what the compiler for a TPU expects, as in `benchmarks/tpu.py`, without one.
"""

import argparse
import functools

import jax
import numpy as np
from timing import median_ms, report

from jaxdet.boxes import anchors as anchors_
from jaxdet.boxes import codecs, simota
from jaxdet.losses import box, classes, yolo
from jaxdet.types import Objects, Raw

CLASSES = 80


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--objects", type=int, default=30, help="in an image")
    parser.add_argument("--size", type=int, default=640, help="of the input, pixels")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--tpu", action="store_true")
    options = parser.parse_args()

    grids = [(options.size // stride,) * 2 for stride in (8, 16, 32)]
    anchors = anchors_.cells(grids, (options.size,) * 2)
    raw, objects = inputs(options.batch, options.objects, len(anchors.cell))
    boxes = codecs.from_cell.decode(raw.boxes, anchors)
    scores = jax.nn.sigmoid(raw.objectness), jax.nn.sigmoid(raw.logits)
    more = dict(batch=options.batch, objects=options.objects, size=options.size)

    def measure(what, function, *inputs, rule):
        if options.tpu:
            import tpu

            compiled = tpu.compiled(function, *inputs)
            seconds, rounds, _ = tpu.estimate(compiled.as_text())
            more.update(chips=f"1 {tpu.KIND}", rounds_ms=[1e3 * each for each in rounds])
            report(what, 1e3 * seconds, "ms/batch, estimated", rule=rule, **more)
        else:
            ms = median_ms(jax.jit(function), *inputs, repeats=options.repeats)
            report(what, ms, "ms/batch", rule=rule, **more)

    for name, rule in simota.RULES.items():
        assign = functools.partial(simota.simota, anchors=anchors, rule=rule)
        run = jax.vmap(lambda *of, assign=assign: assign(*of[:-1], objects=of[-1]))
        measure("simota", run, boxes, *scores, objects, rule=name)

        how = dict(rule=rule, box_weight=5.0, box_loss=box.yolox, class_loss=classes.bce)
        slopes = jax.grad(functools.partial(total, anchors=anchors, **how))
        measure("yolox_losses_gradient", slopes, raw, objects, rule=name)


def total(raw, objects, *, anchors, **how):
    """The sum of all losses."""
    losses = yolo.yolox(raw, None, objects, anchors, **how)
    return sum(value for value, _ in losses.values())


def inputs(batch: int, count: int, anchors: int) -> tuple[Raw, Objects]:
    """Predictions such as a network in training makes, and objects of all sizes."""
    rng = np.random.default_rng(0)
    normal = lambda mean, spread, *shape: rng.normal(mean, spread, shape).astype(np.float32)
    raw = Raw(
        boxes=normal(0.5, 0.5, batch, anchors, 4),
        objectness=normal(-3, 1.5, batch, anchors),
        logits=normal(-3, 1, batch, anchors, CLASSES),
    )
    side = rng.uniform(0.03, 0.6, (batch, count, 2))
    low = rng.uniform(size=side.shape) * (1 - side)
    objects = Objects(
        boxes=np.concatenate([low, low + side], axis=-1).astype(np.float32),
        labels=rng.integers(0, CLASSES, (batch, count)).astype(np.int32),
        mask=np.ones((batch, count), bool),
        weight=np.ones((batch, count), np.float32),
    )
    return jax.device_put((raw, objects))


if __name__ == "__main__":
    main()
