"""Activations by hand, and those that change a layer's width in every part that has one."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_contracts import PARTS, SIZES, part_and_input

from jaxdet import choices
from jaxdet.backbones.resnet50 import Bottleneck
from jaxdet.heads.yolov2 import Prediction
from jaxdet.layers import activations
from jaxdet.layers.blocks import ConvBlock, DepthwiseBlock, pieces_of
from jaxdet.layers.inverted_residual import SqueezedResidual

KEY = jax.random.key(0)
CHOSEN = ["mish", {"name": "gelu", "approximate": True}, "maxout", {"name": "maxout", "pieces": 3}]


def test_maxout_takes_the_maximum_of_every_third_channel():
    x = np.array(jax.random.normal(KEY, (2, 3, 4, 6)))
    expected = np.maximum(np.maximum(x[..., :2], x[..., 2:4]), x[..., 4:])
    np.testing.assert_array_equal(activations.maxout(x, pieces=3), expected)
    with pytest.raises(ValueError, match="6 channels cannot be 4 pieces"):
        activations.maxout(x, pieces=4)


def test_how_many_channels_an_activation_takes():
    of = lambda value: pieces_of(choices.choose("activation", value, "activation"))
    assert [of(value) for value in CHOSEN] == [1, 1, 2, 3]
    assert pieces_of(jax.nn.relu) == pieces_of(lambda x: x) == 1


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_mish_far_out(dtype):
    """Where e^x overflows or vanishes, and half precision has no squares."""
    x = jnp.array([-1e4, -200, -30, 0, 15, 30, 200, 1e4], dtype)
    value, slope = jax.vmap(jax.value_and_grad(activations.mish))(x)
    assert value.dtype == slope.dtype == dtype
    np.testing.assert_allclose(value, jnp.maximum(x, 0), atol=1e-4)
    np.testing.assert_allclose(slope, [0, 0, 0, 0.6, 1, 1, 1, 1], atol=2e-3)


def test_a_depthwise_maxout_compares_filters_of_the_same_channel():
    x = jax.random.normal(KEY, (1, 5, 5, 3))
    block = DepthwiseBlock(norm=None, activation=activations.maxout)
    variables = block.init(KEY, x, train=False)
    kernel = variables["params"]["conv"]["kernel"]
    assert kernel.shape == (3, 3, 1, 6)
    halves = [kernel[..., :3], kernel[..., 3:]]
    each = DepthwiseBlock(norm=None)
    bias = variables["params"]["conv"]["bias"][:3]
    filtered = [
        each.apply({"params": {"conv": {"kernel": half, "bias": bias}}}, x, train=False)
        for half in halves
    ]
    np.testing.assert_allclose(
        block.apply(variables, x, train=False), np.maximum(*filtered), atol=1e-6
    )


GIVEN = dict(num_classes=3, num_anchors=(1,))  # to heads
FIELDS = [
    (key, name, inspect.signature(choices.choose(key, name, key, given=GIVEN)).parameters)
    for key, name in PARTS
]
WITH_ACTIVATION = [(key, name) for key, name, fields in FIELDS if "activation" in fields]


@functools.cache
def outputs_of(key, name, activation=None):
    """The shapes of a part's outputs."""
    part, x = part_and_input(key, name, SIZES[key][0])
    part = part if activation is None else part.clone(activation=activation)
    y, _ = jax.eval_shape(functools.partial(part.init_with_output, train=False), KEY, x)
    return jax.tree.map(lambda leaf: leaf.shape, y)


@pytest.mark.slow
@pytest.mark.parametrize("chosen", ["mish", "gelu", {"name": "maxout", "pieces": 3}], ids=str)
@pytest.mark.parametrize(("key", "name"), WITH_ACTIVATION)
def test_a_part_keeps_its_channels_with_any_activation(key, name, chosen):
    activation = choices.choose("activation", chosen, "activation")
    assert outputs_of(key, name, activation) == outputs_of(key, name)


def test_the_fully_connected_layers_keep_their_units():
    x = jnp.zeros((1, 3, 3, 4))
    layer = Prediction(5, fully_connected=6, activation=activations.maxout)
    y, variables = layer.init_with_output(KEY, x, train=False)
    assert y.shape == (1, 3, 3, 5)
    assert variables["params"]["hidden"]["kernel"].shape[-1] == 12
    assert variables["params"]["out"]["kernel"].shape[-2] == 6


BLOCKS = {
    "conv": ConvBlock(8, 3),
    "depthwise": DepthwiseBlock(),
    "bottleneck": Bottleneck(2, 1, first=False),
    "squeezed": SqueezedResidual(8, 16, 3, 1, squeeze=True, squeeze_first=True),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_gradient_reaches_all_pieces(name):
    """Every filter of a maxout wins somewhere; the bottleneck's shortcut becomes a projection."""
    block = BLOCKS[name].clone(activation=activations.maxout)
    x = jax.random.normal(KEY, (2, 6, 6, 8))
    variables = jax.jit(functools.partial(block.init, train=True))(KEY, x)
    if name == "bottleneck":
        assert variables["params"]["shortcut"]["conv"]["kernel"].shape[-1] == 16

    def total(params):
        now = {**variables, "params": params}
        y, _ = block.apply(now, x, train=True, mutable=["batch_stats"])
        last = y[-1] if isinstance(y, tuple) else y
        assert last.shape == x.shape
        return (last * jnp.cos(jnp.arange(last.size)).reshape(last.shape)).sum()

    gradient = jax.jit(jax.grad(total))(variables["params"])
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        of_filters = np.abs(leaf).reshape(-1, leaf.shape[-1]).sum(0)
        assert np.isfinite(of_filters).all() and (of_filters > 0).all(), path
