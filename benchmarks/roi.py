"""Times RoIAlign in both of its forms, forward and with the gradient of the maps, and RoIPool.

    python benchmarks/roi.py [--peer] [--repeats 5]
    python benchmarks/roi.py --tpu

`jaxdet/layers/roi.py` chooses by these. `--peer` times torchvision beside ours, with as many
threads. The gradient of products with large maps takes seconds on a CPU, and is left out. `--tpu`
prints what a TPU's compiler expects of both forms (see tpu.py). It has no estimate for gathers and
scatters, so that the form with them takes longer than it says.
"""

import argparse
import functools
import statistics

import jax
import jax.numpy as jnp
import numpy as np
from timing import report, seconds_in_turn

from jaxdet import backend
from jaxdet.layers import roi

CHANNELS = 256
FINE = ((4, 128), (8, 64), (16, 32), (32, 16))
CASES = [  # name, images, regions of each, (stride, side) of the maps, side of the input
    ("mobilenet_320", 1, 150, ((32, 10),), 320),
    ("mobilenet_320", 8, 150, ((32, 10),), 320),
    ("resnet50_fpn_512", 1, 1000, FINE, 512),
    ("resnet50_fpn_512", 2, 512, FINE, 512),
]
FORMS = {"products": "tpu", "gathers": "cpu"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--tpu", action="store_true")
    options = parser.parse_args()
    if options.tpu:
        estimate_tpu()
    else:
        time_here(options.repeats, options.peer)


def time_here(repeats: int, peer: bool) -> None:
    for name, images, regions, levels, side in CASES:
        maps, boxes = inputs(images, regions, levels)
        strides = tuple(stride for stride, _ in levels)
        pool = functools.partial(roi.pool_levels, shape=(side, side), strides=strides)
        for what in ("forward", "gradient"):
            forms = FORMS if len(levels) == 1 or what == "forward" else {"gathers": "cpu"}
            programs = {n: ours(pool, what, maps, boxes, form) for n, form in forms.items()}
            if peer:
                programs["torchvision"] = torchvisions(what, maps, boxes, side)
            more = dict(images=images, regions=regions, levels=len(levels))
            report_all(f"roi_align_{name}/{what}", programs, repeats, more)
    x, boxes = jnp.ones((1, 37, 37, 512)), inputs(1, 300, ())[1] * 37
    for what in ("forward", "gradient"):
        pool = lambda maps, boxes: roi.roi_pool(maps[0], boxes)
        programs = {"gathers": ours(pool, what, [x], boxes, "cpu")}
        report_all(f"roi_pool_vgg16/{what}", programs, repeats, dict(images=1, regions=300))


def inputs(images: int, regions: int, levels) -> tuple[list[jax.Array], jax.Array]:
    """Maps, and regions with sides from 8 pixels of 512 to all of the input, as fractions."""
    chance = np.random.default_rng(0)
    shapes = [(images, side, side, CHANNELS) for _, side in levels]
    maps = [jnp.asarray(chance.normal(size=shape), jnp.float32) for shape in shapes]
    side, ratio = np.exp(
        chance.uniform([[[-4.2]], [[-0.7]]], [[[0]], [[0.7]]], (2, images, regions))
    )
    sides = np.minimum(np.stack([side * ratio, side / ratio], -1), 1)
    corner = chance.uniform(size=sides.shape) * (1 - sides)
    return maps, jnp.asarray(np.concatenate([corner, corner + sides], -1), jnp.float32)


def differentiated(pool, what: str):
    """`pool`, or `pool` and its gradient, as a function of maps, regions and the upstream one."""

    def gradient(maps, boxes, dy):
        y, back = jax.vjp(lambda maps: pool(maps, boxes), maps)
        return y, back(dy)

    return gradient if what == "gradient" else lambda maps, boxes, _: pool(maps, boxes)


def ours(pool, what: str, maps, boxes, form: str):
    dy = jnp.ones((*boxes.shape[:2], 7, 7, maps[0].shape[3]))
    with backend.lowering_for(form):
        program = jax.jit(differentiated(pool, what)).lower(maps, boxes, dy).compile()

    def run(calls: int) -> None:
        for _ in range(calls):
            jax.block_until_ready(program(maps, boxes, dy))

    return run


def torchvisions(what: str, maps, boxes, side: int):
    """The same of torchvision, whose maps are [B, C, H, W]."""
    import torch
    from torchvision.ops import MultiScaleRoIAlign

    names = [str(i) for i in range(len(maps))]
    pool = MultiScaleRoIAlign(names, 7, 2)
    theirs = [torch.tensor(np.asarray(x)).permute(0, 3, 1, 2).contiguous() for x in maps]
    theirs = [x.requires_grad_(what == "gradient") for x in theirs]
    regions = [torch.tensor(np.asarray(b) * side) for b in boxes]
    dy = torch.ones(boxes.shape[0] * boxes.shape[1], maps[0].shape[3], 7, 7)

    def run(calls: int) -> None:
        for _ in range(calls):
            y = pool(dict(zip(names, theirs, strict=True)), regions, [(side, side)] * len(regions))
            if what == "gradient":
                torch.autograd.grad(y, theirs, dy)

    return run


def report_all(name: str, programs, repeats: int, more) -> None:
    for form, times in seconds_in_turn(programs, repeats=repeats).items():
        report(name, 1e3 * statistics.median(times), "ms", form=form, **more)


def estimate_tpu() -> None:
    import tpu
    from jax.experimental import topologies

    jax.config.update("jax_platforms", "cpu")
    chips = topologies.get_topology_desc(platform="tpu", topology_name=tpu.TOPOLOGY).devices
    place = jax.sharding.SingleDeviceSharding(chips[0])
    shape = lambda *s, dtype=jnp.bfloat16: jax.ShapeDtypeStruct(s, dtype, sharding=place)
    for name, images, regions, levels, side in CASES:
        maps = [shape(images, s, s, CHANNELS) for _, s in levels]
        boxes = shape(images, regions, 4, dtype=jnp.float32)
        strides = tuple(stride for stride, _ in levels)
        pool = functools.partial(roi.pool_levels, shape=(side, side), strides=strides)
        for what in ("forward", "gradient"):
            for form, target in (("products", "tpu"), ("gathers", "gpu")):
                program = jax.jit(differentiated(pool, what))
                with backend.lowering_for(target):
                    lowered = program.lower(maps, boxes, shape(images, regions, 7, 7, CHANNELS))
                seconds, *_ = tpu.estimate(lowered.compile().as_text())
                more = dict(images=images, regions=regions, chip=tpu.KIND, dtype="bfloat16")
                report(
                    f"roi_align_{name}/{what}", 1e3 * seconds, "ms, estimated", form=form, **more
                )


if __name__ == "__main__":
    main()
