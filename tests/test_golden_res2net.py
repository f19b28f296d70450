"""Res2Net against what the PyTorch reference computes, from the same weights.

Reference numbers: Res2Net/Res2Net-PretrainedModels at 219c8c6 with seeded random weights and two
COCO photos, at sixteen places of every map. They are not part of the repository.
"""

import functools
import json

import jax
import numpy as np
import pytest
from test_golden_yolo_nets import maker

from jaxdet.backbones.res2net50 import res2net50
from jaxdet.backbones.res2net50_v1b import res2net50_v1b
from jaxdet.convert import res2net, weights

MODELS = {  # the reference's name -> ours
    "res2net50_26w_4s": ("res2net50", res2net50),
    "res2net50_v1b_26w_4s": ("res2net50_v1b", res2net50_v1b),
}


@functools.cache
def golden(shared, name):
    """Our variables, the input and the reference's arrays."""
    backbone, made = MODELS[name]
    folder = shared / "golden"
    described = json.loads((folder / "res2net" / f"{name}.manifest.json").read_text())
    drawn = maker(shared).draw_all(described, described["seed"])
    with np.load(folder / "fasterrcnn" / "input.npz") as file:
        x = file["input"].astype(np.float32)
    init = functools.partial(made().init, train=False)
    shapes = jax.eval_shape(init, jax.random.key(0), np.zeros((1, 64, 64, 3)))
    variables = weights.to_ours(drawn, res2net.BACKBONES[backbone], shapes)
    with np.load(folder / "res2net" / f"{name}.npz") as file:
        return variables, x, dict(file)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "pool_at_stride_1"), [*((name, True) for name in MODELS), ("res2net50_26w_4s", False)]
)
def test_maps_equal_the_reference(shared, name, pool_at_stride_1):
    """Without the pool of the first block as in mmdetection."""
    variables, x, arrays = golden(shared, name)
    net = MODELS[name][1](strides=(4, 8, 16, 32), pool_at_stride_1=pool_at_stride_1)

    @jax.jit
    def at_places(variables, x):
        maps = net.apply(variables, x, train=False)
        places = [arrays[f"places_layer{k}"].T for k in range(1, 5)]
        return [y[tuple(at)] for y, at in zip(maps, places, strict=True)]

    suffix = "" if pool_at_stride_1 else "_without_first_pool"
    for k, values in enumerate(at_places(variables, x), start=1):
        expected = arrays[f"values_layer{k}{suffix}"]
        np.testing.assert_allclose(values, expected, atol=1e-4 if k < 3 else 2e-3)
