"""RoIAlign, RoIPool and the rule of levels against torchvision: shared/golden/ops."""

import functools

import jax
import numpy as np
import pytest

from jaxdet import backend
from jaxdet.layers import roi

FORMS = ["cpu", *(pytest.param(t, marks=pytest.mark.slow) for t in ("gpu", "tpu"))]
SIZES = {"7x7": (7, 7), "2x3": (2, 3)}


@pytest.fixture(scope="module")
def ops(shared):
    with np.load(shared / "golden" / "ops" / "ops.npz") as stored:
        return dict(stored)


def compare(ops, name, pool, scale, size):
    """Values and gradient. Each region names its picture; here every picture pools all of them."""
    x, picture = ops["pool_features"], ops["pool_boxes"][:, 0].astype(int)
    boxes = np.stack([ops["pool_boxes"][:, 1:] * np.float32(scale)] * len(x))
    mine = (picture == np.arange(len(x))[:, None])[..., None, None, None]
    upstream = np.where(mine, ops[f"pool_upstream_{size}"], 0)

    @jax.jit
    def run(x, boxes, upstream):
        y, back = jax.vjp(lambda x: pool(x, boxes, size=SIZES[size]), x)
        return y, *back(upstream)

    found, gradient = run(x, boxes, upstream)
    np.testing.assert_allclose(np.where(mine, found, 0).sum(0), ops[name], atol=1e-5)
    np.testing.assert_allclose(gradient, ops[f"{name}_gradient"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("target", FORMS)
@pytest.mark.parametrize("samples", [-1, 0, 2, 3])
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_roi_align_is_torchvisions(ops, size, aligned, samples, target):
    name = f"roi_align_{size}_aligned{int(aligned)}_ratio{samples}"
    pool = functools.partial(roi.roi_align, samples=samples, aligned=aligned)
    with backend.lowering_for(target):
        compare(ops, name, pool, 0.25, size)


@pytest.mark.parametrize("target", FORMS[:2])
@pytest.mark.parametrize("scale", [4, 16])
@pytest.mark.parametrize("size", SIZES)
def test_roi_pool_is_torchvisions(ops, size, scale, target):
    with backend.lowering_for(target):
        compare(ops, f"roi_pool_{size}_scale{scale}", roi.roi_pool, 1 / scale, size)


def test_levels_are_torchvisions(ops):
    names = [n for n in ops if n.startswith("level_") and n != "level_boxes"]
    assert names
    for name in names:
        low, high = map(int, name.split("_")[1:])
        strides = tuple(2**k for k in range(low, high + 1))
        found = jax.jit(functools.partial(roi.levels_of, strides=strides))(ops["level_boxes"])
        np.testing.assert_array_equal(found, ops[name], err_msg=name)
