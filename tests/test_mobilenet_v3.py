"""MobileNetV3: its layers by hand, its sizes, and the names of its weights in every source.

The whole network against the reference's is `test_golden_lufficc.py`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_convert_sources import digest, shapes_of, their_shapes, zeros

from jaxdet.backbones.mobilenet_v3 import mobilenet_v3
from jaxdet.convert import lufficc, timm, torchvision, weights
from jaxdet.layers import activations, attention, blocks, norms
from jaxdet.layers.inverted_residual import SqueezedResidual
from jaxdet.necks.mobilenet_v3_extras import mobilenet_v3_extras

KEY = jax.random.key(0)


def test_hard_swish_by_hand():
    x = jnp.array([-4.0, -3.0, -1.0, 0.0, 1.5, 3.0, 5.0])
    np.testing.assert_allclose(
        activations.hard_sigmoid(x), [0, 0, 1 / 3, 0.5, 0.75, 1, 1], rtol=1e-6
    )
    np.testing.assert_allclose(activations.hard_swish(x), [0, 0, -1 / 3, 0, 1.125, 3, 5], rtol=1e-6)
    slope = jax.vmap(jax.grad(activations.hard_sigmoid))(x)
    np.testing.assert_allclose(slope, [0, 0, 1 / 6, 1 / 6, 1 / 6, 0, 0], rtol=1e-6)  # PyTorch's
    slope = jax.vmap(jax.grad(activations.hard_swish))(x)
    np.testing.assert_allclose(slope, [0, 0, 1 / 6, 0.5, 1, 1, 1], rtol=1e-6)


def test_squeeze_excite_by_hand():
    x = np.array(jax.random.normal(KEY, (2, 3, 4, 5)))
    layer = attention.SqueezeExcite(2)
    params = jax.jit(functools.partial(layer.init, train=False))(KEY, x)["params"]
    params = jax.tree.map(lambda a: a + 0.1, params)  # biases that are not zero
    reduce, expand = (params[name] for name in ("reduce", "expand"))
    expected = np.empty_like(x)
    for i, one in enumerate(x):
        hidden = one.reshape(-1, 5).mean(0) @ reduce["kernel"][0, 0] + reduce["bias"]
        score = np.maximum(hidden, 0) @ expand["kernel"][0, 0] + expand["bias"]
        expected[i] = one * np.clip(score / 6 + 0.5, 0, 1)
    y = layer.apply({"params": params}, x, train=False)
    np.testing.assert_allclose(y, expected, atol=1e-6)


@pytest.mark.parametrize("squeeze_first", [True, False])
def test_squeeze_and_excite_stands_on_the_named_side_of_the_activation(squeeze_first):
    x = jax.random.normal(KEY, (1, 6, 6, 8))
    block = SqueezedResidual(8, 16, 3, 1, True, squeeze_first, activation=activations.relu)
    variables = jax.jit(functools.partial(block.init, train=False))(KEY, x)
    widened, y = block.apply(variables, x, train=False)

    def part(layer, name, x, **kwargs):
        own = {kind: tree[name] for kind, tree in variables.items() if name in tree}
        return layer.apply(own, x, **kwargs)

    wide = jax.nn.relu(part(blocks.ConvBlock(16), "expand", x, train=False))
    np.testing.assert_allclose(widened, wide, atol=1e-6)
    inside = part(blocks.DepthwiseBlock(), "depthwise", wide, train=False)
    excite = functools.partial(part, attention.SqueezeExcite(8), "squeeze", train=False)
    inside = jax.nn.relu(excite(inside)) if squeeze_first else excite(jax.nn.relu(inside))
    out = x + part(blocks.ConvBlock(8), "project", inside, train=False)
    np.testing.assert_allclose(y, out, atol=1e-5)


TORCHVISIONS = functools.partial(
    mobilenet_v3, section_6_3=True, squeeze_first=False, norm=norms.slow_batch_norm
)


@pytest.mark.parametrize(
    ("backbone", "channels"),
    [
        (mobilenet_v3(), (112, 960)),
        (TORCHVISIONS(), (672, 480)),
        (TORCHVISIONS(width=0.125), (88, 96)),  # 84 and 10 channels, rounded
    ],
)
@pytest.mark.parametrize("size", [256, 320])
def test_maps(backbone, channels, size):
    pixels = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    run = lambda x: backbone.init_with_output(KEY, x, train=False)[0]
    expected = [(1, size // stride, size // stride) for stride in backbone.strides]
    found = [m.shape for m in jax.eval_shape(run, pixels)]
    assert found == [(*s, c) for s, c in zip(expected, channels, strict=True)]


def test_extras_halve_until_one_pixel_is_left():
    maps = tuple(jax.ShapeDtypeStruct((1, s, s, 24), jnp.float32) for s in (20, 10))
    run = lambda maps: mobilenet_v3_extras(width=0.25).init_with_output(KEY, maps, train=False)
    levels, variables = jax.eval_shape(run, maps)
    assert [m.shape[1:] for m in levels[2:]] == [(5, 5, 128), (3, 3, 64), (2, 2, 64), (1, 1, 16)]
    assert variables["params"]["block3"]["expand"]["conv"]["kernel"].shape == (1, 1, 64, 32)


@pytest.mark.parametrize("sides", [(6, 5), (7, 8)])
@pytest.mark.parametrize(
    ("size", "stride", "dilation"), [(3, 1, 1), (3, 2, 1), (5, 2, 1), (3, 1, 2)]
)
def test_same_padding_is_tensorflows(sides, size, stride, dilation):
    x = jax.random.normal(KEY, (1, *sides, 3))
    kernel = jax.random.normal(KEY, (size, size, 3, 4))

    def expected(kernel, **how):
        how |= dict(rhs_dilation=(dilation,) * 2, dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return jax.lax.conv_general_dilated(x, kernel, (stride,) * 2, "SAME", **how)

    conv = blocks.Conv(4, size, stride, "SAME", dilation, use_bias=False)
    found = conv.apply({"params": {"kernel": kernel}}, x)
    np.testing.assert_allclose(found, expected(kernel), atol=1e-5)
    if dilation == 1:
        deep = kernel[:, :, :1, :3]
        found = blocks.DepthwiseConv(size, stride, "SAME").apply({"params": {"kernel": deep}}, x)
        np.testing.assert_allclose(found, expected(deep, feature_group_count=3), atol=1e-5)


@pytest.mark.parametrize("layer", [blocks.ConvBlock, blocks.DepthwiseBlock])
def test_norm_is_the_one_given(layer):
    flat = functools.partial(norms.BatchNorm, epsilon=3.0)  # variance 1 + 3: halves
    layer = layer(features=1, norm=flat) if layer is blocks.ConvBlock else layer(size=1, norm=flat)
    x = jnp.full((1, 2, 2, 1), 8.0)
    variables = layer.init(KEY, x, train=False)
    variables["params"]["conv"]["kernel"] = jnp.ones((1, 1, 1, 1))
    np.testing.assert_allclose(layer.apply(variables, x, train=False), x / 2)


# As in torchvision 0.28, timm 1.0.31 and the d-li14/mobilenetv3.pytorch that lufficc's URL names.
@pytest.mark.parametrize(
    ("source", "other", "expected"),
    [
        (
            torchvision,
            {"classifier.0": (1280, 960), "classifier.3": (1000, 1280)},
            "3abde803707966e4",
        ),
        (timm, {"conv_head": (1280, 960, 1, 1), "classifier": (1000, 1280)}, "577e14f5662a0b4f"),
        (lufficc, {"classifier.0": (1280, 960), "classifier.2": (1000, 1280)}, "a0249d446becabcc"),
    ],
)
def test_imagenet_classifiers_fit(source, other, expected, monkeypatch):
    variables, (*_, backbone) = shapes_of("mobilenet_v3_ssd320_voc", 20)
    ours = {kind: tree["backbone"] for kind, tree in variables.items()}
    shapes = their_shapes(ours, source.BACKBONES[backbone])
    if source is lufficc:  # squeezes by linear layers
        shapes = {name: s[:2] if ".fc." in name else s for name, s in shapes.items()}
    shapes |= {f"{name}.weight": shape for name, shape in other.items()}
    shapes |= {f"{name}.bias": shape[:1] for name, shape in other.items()}
    assert digest(shapes) == (266, expected)
    monkeypatch.setattr(weights, "read", lambda file: zeros(shapes))
    loaded = weights.load_backbone("file", variables, model=(backbone,))["params"]["backbone"]
    assert loaded["block4"]["squeeze"]["reduce"]["kernel"].shape == (1, 1, 72, 24)
