"""Layers, backbones, necks, heads and the net that joins them."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdet import backend
from jaxdet.backbones.mobilenet_v2 import mobilenet_v2
from jaxdet.backbones.vgg16 import vgg16
from jaxdet.detectors.net import Net
from jaxdet.heads.ssd import flatten_levels, ssd
from jaxdet.heads.ssdlite import ssdlite
from jaxdet.heads.ssdlite_separable import ssdlite_separable
from jaxdet.heads.yolov2 import yolov2
from jaxdet.heads.yolov3 import yolov3
from jaxdet.layers import activations, batch_norm, blocks, norms
from jaxdet.layers.inverted_residual import InvertedResidual
from jaxdet.necks.mobilenet_extras import mobilenet_extras
from jaxdet.necks.vgg_extras import vgg_extras
from jaxdet.necks.vgg_extras_512 import vgg_extras_512

KEY = jax.random.key(0)
PIXELS = dict(mean=(123.0, 117.0, 104.0), scale=(1.0, 1.0, 1.0))

NETS = {
    "ssd300": Net(vgg16(), vgg_extras(), ssd(20, (4, 6, 6, 6, 4, 4)), **PIXELS),
    "ssd512": Net(vgg16(), vgg_extras_512(), ssd(20, (4, 6, 6, 6, 6, 4, 4)), **PIXELS),
    "ssdlite320": Net(mobilenet_v2(), mobilenet_extras(), ssdlite(20, (6,) * 6), **PIXELS),
}


def shapes(net, size, **kwargs):
    pixels = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    return jax.eval_shape(lambda x: net.init_with_output(KEY, x, **kwargs), pixels)


@pytest.mark.parametrize(
    ("name", "size", "grids", "anchors", "parameters"),
    [
        ("ssd300", 300, (38, 19, 10, 5, 3, 1), 8732, 26_285_486),
        ("ssd512", 512, (64, 32, 16, 8, 4, 2, 1), 24564, 27_188_676),
        ("ssdlite320", 320, (20, 10, 5, 3, 2, 1), 3234, 3_304_708),
        ("ssdlite320", 256, (16, 8, 4, 2, 1, 1), 6 * (256 + 64 + 16 + 4 + 1 + 1), 3_304_708),
    ],
)
def test_sizes_are_the_references(name, size, grids, anchors, parameters):
    net = NETS[name]
    raw, variables = shapes(net, size, train=False)
    maps, _ = shapes(net, size, method="maps")
    assert tuple(m.shape[1] for m in maps) == tuple(m.shape[2] for m in maps) == grids
    assert raw.boxes.shape == (2, anchors, 4)
    assert raw.logits.shape == (2, anchors, 21)
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == parameters
    assert set(variables["params"]) == {"backbone", "neck", "head"}


@pytest.mark.parametrize("head", [ssd, ssdlite, ssdlite_separable, yolov2, yolov3])
def test_classes_start_at_their_initial_probability(head):
    """Of maps of zeros the outputs are the biases."""
    maps = jnp.zeros((1, 4, 4, 8)), jnp.zeros((1, 2, 2, 8))
    made = head(num_classes=3, num_anchors=(2, 3), initial_probability=0.01)
    found, _ = jax.jit(functools.partial(made.init_with_output, train=False))(KEY, maps)
    boxes, logits, *objectness = found
    np.testing.assert_allclose(jax.nn.sigmoid(logits[..., -3:]), 0.01, rtol=1e-5)
    for others in (boxes, logits[..., :-3], *objectness):  # column 0 of an SSD is the background
        assert not np.any(others)
    for wrong in (-0.1, 1.0):
        refused = made.clone(initial_probability=wrong)
        with pytest.raises(ValueError, match=r"initial_probability is .*, expected in \(0, 1\)"):
            jax.eval_shape(functools.partial(refused.init, train=False), KEY, maps)


def test_classes_start_at_their_initial_probability_behind_fully_connected_layers():
    maps = (jnp.zeros((1, 2, 3, 8)),)
    made = yolov2(2, (2,), fully_connected=4, initial_probability=0.1)
    (boxes, logits, objectness), _ = made.init_with_output(KEY, maps, train=False)
    assert logits.shape == (1, 12, 2) and not np.any(boxes) and not np.any(objectness)
    np.testing.assert_allclose(jax.nn.sigmoid(logits), 0.1, rtol=1e-5)


@pytest.mark.parametrize("size", [256, 320])
@pytest.mark.parametrize("backbone", [vgg16(), mobilenet_v2(), mobilenet_v2(width=0.35)])
def test_backbones_declare_their_strides(backbone, size):
    maps, _ = shapes(backbone, size, train=False)
    assert [round(size / m.shape[1]) for m in maps] == list(backbone.strides)


@pytest.mark.parametrize("backbone", [vgg16, mobilenet_v2])
def test_backbones_give_the_maps_they_are_asked_for(backbone):
    maps, _ = shapes(backbone(strides=(8, 2)), 64, train=False)
    assert [m.shape[1] for m in maps] == [8, 32]
    with pytest.raises(ValueError, match=r"has maps of strides \[.*16.*\], not of \[64\]"):
        shapes(backbone(strides=(8, 64)), 64, train=False)


class Same(nn.Module):
    """Gives back what it gets, as a level."""

    def __call__(self, x, *, train):
        return x if isinstance(x, tuple) else (x,)


class Pair(nn.Module):
    """The level itself, as boxes and as logits."""

    def __call__(self, maps, *, train):
        return maps[0], maps[0] * (2.0 if train else 1.0)


def test_net_normalises_pixels():
    net = Net(Same(), Same(), Pair(), mean=(1.0, 2.0, 3.0), scale=(2.0, 4.0, 8.0))
    pixels = np.full((1, 1, 1, 3), 11, np.uint8)
    raw = net.apply({}, pixels, train=True)
    np.testing.assert_allclose(raw.boxes[0, 0, 0], [5, 9 / 4, 1])
    np.testing.assert_allclose(raw.logits[0, 0, 0], [10, 9 / 2, 2])


def test_levels_are_flattened_by_row_column_anchor():
    def grid(rows, columns, level):
        row, column, anchor, field = np.ogrid[:rows, :columns, :3, :2]
        codes = 10_000 * level + 1000 * row + 100 * column + 10 * anchor + field
        return jnp.array(codes.reshape(1, rows, columns, 6))

    flat = flatten_levels([grid(2, 2, 1), grid(1, 1, 2)], 2)
    assert flat.shape == (1, 3 * 5, 2)
    assert flat[0, :7, 0].tolist() == [10000, 10010, 10020, 10100, 10110, 10120, 11000]
    assert flat[0, -1].tolist() == [20020, 20021]


@pytest.mark.parametrize("head", [ssd, ssdlite])
def test_heads_refuse_a_wrong_number_of_levels(head):
    maps = (jnp.ones((1, 2, 2, 4)), jnp.ones((1, 1, 1, 4)))
    with pytest.raises(ValueError, match="2 maps, but anchors for 3 levels"):
        head(2, (1, 1, 1)).init(KEY, maps, train=False)


def test_batch_norm_by_hand():
    x = jnp.array([1.0, 3.0, 5.0, 7.0]).reshape(2, 1, 2, 1)  # mean 4, variance 5, unbiased 20 / 3
    norm = norms.BatchNorm()
    variables = {
        "params": {"scale": jnp.array([2.0]), "bias": jnp.array([1.0])},
        "batch_stats": {"mean": jnp.array([10.0]), "var": jnp.array([3.0])},
    }
    y, updates = norm.apply(variables, x, train=True, mutable=["batch_stats"])
    expected = 1 + 2 * (np.array([1, 3, 5, 7]) - 4) / np.sqrt(5 + 1e-5)
    np.testing.assert_allclose(y.ravel(), expected, rtol=1e-6)
    np.testing.assert_allclose(updates["batch_stats"]["mean"], [0.9 * 10 + 0.1 * 4], rtol=1e-6)
    np.testing.assert_allclose(updates["batch_stats"]["var"], [0.9 * 3 + 0.1 * 20 / 3], rtol=1e-6)
    y, updates = norm.apply(variables, x, train=False, mutable=["batch_stats"])
    expected = 1 + 2 * (np.array([1, 3, 5, 7]) - 10) / np.sqrt(3 + 1e-5)
    np.testing.assert_allclose(y.ravel(), expected, rtol=1e-6)
    assert updates["batch_stats"]["mean"] == 10


def test_batch_norm_gradient_equals_flax():
    x = 5 + jax.random.normal(KEY, (3, 4, 5, 6))
    ours, theirs = norms.BatchNorm(), nn.BatchNorm(momentum=0.9, use_running_average=False)
    variables = theirs.init(KEY, x)
    weights = jax.random.normal(jax.random.key(1), x.shape)

    def loss(norm, params, x, **kwargs):
        y, _ = norm.apply({**variables, "params": params}, x, mutable=["batch_stats"], **kwargs)
        return (y * weights).sum()

    def take(norm, **options):
        slopes = jax.grad(functools.partial(loss, norm, **options), (0, 1))
        return jax.jit(slopes)(variables["params"], x)

    for a, b in zip(
        jax.tree.leaves(take(ours, train=True)), jax.tree.leaves(take(theirs)), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=2e-4)


def test_batch_norm_keeps_float32_statistics_of_bfloat16_maps():
    x = 300 + jax.random.normal(KEY, (2, 8, 8, 1))  # bfloat16 has steps of 2 at 300
    norm = norms.BatchNorm()
    variables = norm.init(KEY, x, train=True)
    assert variables["batch_stats"]["mean"] == 0  # initialising is no step
    half = x.astype(jnp.bfloat16)
    y, updates = norm.apply(variables, half, train=True, mutable=["batch_stats"])
    assert y.dtype == jnp.bfloat16
    mean = updates["batch_stats"]["mean"]
    assert mean.dtype == jnp.float32
    exact = np.asarray(half, np.float64).mean()
    assert float(mean[0]) == pytest.approx(0.1 * exact, rel=1e-5)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("epsilon", [0.0, 1e-5])
def test_a_frozen_batch_norm_never_changes(epsilon, train):
    norm, x = (
        norms.frozen_batch_norm(epsilon=epsilon),
        jnp.array([1.0, 3, 5, 7]).reshape(1, 2, 2, 1),
    )
    assert set(norm.init(KEY, x, train=True)) == {"batch_stats"}
    numbers = {"scale": 2.0, "bias": 1.0, "mean": 10.0, "var": 1e-5}
    variables = {"batch_stats": {name: jnp.array([n]) for name, n in numbers.items()}}

    def total(variables, x):
        y, updates = norm.apply(variables, x, train=train, mutable=["batch_stats"])
        return y.sum(), (y, updates)

    take = jax.grad(total, (0, 1), has_aux=True)
    (of_variables, of_x), (y, updates) = take(variables, x)
    factor = 2 / np.sqrt(1e-5 + epsilon)
    np.testing.assert_allclose(y, 1 + factor * (np.asarray(x) - 10), rtol=1e-6)
    np.testing.assert_allclose(of_x, np.full(x.shape, factor), rtol=1e-6)
    assert updates == variables
    assert not any(leaf.any() for leaf in jax.tree.leaves(of_variables))


@pytest.mark.parametrize("target", ["cpu", "tpu"])
@pytest.mark.parametrize("offset", [0, 100])
def test_moments_equal_double_precision(target, offset):
    """In two looks, or in one around a guess that is two deviations off."""
    x = offset + jax.random.normal(KEY, (2, 16, 16, 3))
    with backend.lowering_for(target):
        mean, var = batch_norm.moments(x, jnp.full(3, offset + 2.0))
    exact = np.asarray(x, np.float64)
    np.testing.assert_allclose(mean, exact.mean((0, 1, 2)), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(var, exact.var((0, 1, 2)), rtol=2e-6)


@pytest.mark.parametrize("target", ["cpu", "tpu"])
def test_the_variance_of_equal_pixels_is_not_negative(target):
    values = jnp.linspace(-3, 3, 200)
    with backend.lowering_for(target):
        _, var = batch_norm.moments(jnp.tile(values, (1, 7, 7, 1)), jnp.zeros(200))
    assert (var >= 0).all()
    np.testing.assert_allclose(var, 0, atol=2e-5)


def test_relu6_stops_at_both_ends():
    x = jnp.array([-1.0, 0.0, 2.0, 6.0, 9.0])
    assert activations.relu6(x).tolist() == [0, 0, 2, 6, 6]
    assert jax.grad(lambda x: activations.relu6(x).sum())(x).tolist() == [0, 0, 1, 0, 0]


def test_l2_norm_by_hand():
    x = jnp.array([[3.0, 4.0], [0.0, 0.0]]).reshape(1, 2, 1, 2)
    norm = blocks.L2Norm()
    variables = norm.init(KEY, x)
    np.testing.assert_allclose(norm.apply(variables, x)[0, :, 0], [[12, 16], [0, 0]], rtol=1e-6)
    gradient = jax.grad(lambda x: norm.apply(variables, nn.relu(x)).sum())(x)
    assert jnp.isfinite(gradient).all()  # a root would be vertical at the empty pixel


def test_inverted_residual_adds_its_input():
    x = jax.random.normal(KEY, (1, 4, 4, 8))
    for features, stride, adds in ((8, 1, True), (8, 2, False), (16, 1, False)):
        block = InvertedResidual(features, stride, 6)
        shapes = jax.eval_shape(functools.partial(block.init, train=False), KEY, x)
        zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
        y = jax.jit(functools.partial(block.apply, train=False))(zeros, x)
        np.testing.assert_array_equal(y, x if adds else jnp.zeros_like(y))


def test_initialisation_is_the_references():
    """He by fan out before BatchNorm (std sqrt(2 / outputs)), Xavier in SSD's own layers."""
    x = jnp.zeros((1, 8, 8, 256))
    kernel = blocks.ConvBlock(64).init(KEY, x, train=False)["params"]["conv"]["kernel"]
    assert np.std(kernel) == pytest.approx((2 / 64) ** 0.5, rel=0.03)
    params = blocks.Conv(128).init(KEY, x)["params"]
    limit = (6 / (9 * 256 + 9 * 128)) ** 0.5
    assert np.abs(params["kernel"]).max() == pytest.approx(limit, rel=0.01)
    assert np.std(params["kernel"]) == pytest.approx(limit / 3**0.5, rel=0.02)
    assert not params["bias"].any()
