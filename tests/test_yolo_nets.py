"""Backbones, necks and heads of the YOLO family."""

from functools import partial

import flax.errors
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxdet.backbones.cspdarknet53 import cspdarknet53
from jaxdet.backbones.cspdarknet53_tiny import cspdarknet53_tiny
from jaxdet.backbones.darknet19 import darknet19
from jaxdet.backbones.darknet53 import darknet53
from jaxdet.backbones.darknet_tiny import darknet_tiny
from jaxdet.backbones.resnet50 import resnet50
from jaxdet.backbones.vgg16_features import vgg16_features
from jaxdet.detectors.net import InSequence, Net
from jaxdet.heads.yolov1 import yolov1
from jaxdet.heads.yolov2 import yolov2
from jaxdet.heads.yolov3 import yolov3
from jaxdet.heads.yolov4 import yolov4
from jaxdet.layers.activations import leaky_relu
from jaxdet.layers.blocks import ConvBlock
from jaxdet.necks.pan import pan
from jaxdet.necks.passthrough import darknet_reorg, passthrough, space_to_depth
from jaxdet.necks.spp import spp
from jaxdet.necks.yolo_fpn import double, yolo_fpn
from jaxdet.necks.yolov1_convs import yolov1_convs

KEY = jax.random.key(0)
PIXELS = dict(mean=(0.0, 0.0, 0.0), scale=(255.0, 255.0, 255.0))
NARROW = 1 / 16


def spp_and_fpn(width):
    return InSequence(("spp", "yolo_fpn"), (spp(width), yolo_fpn(width, convs=(5, 5, 0))))


def spp_and_pan(width):
    return InSequence(("spp", "pan"), (spp(width), pan(width)))


def net(name, classes, width=1.0):
    """A network of the family; `width` multiplies its channels."""
    backbone, neck, head = {
        "yolov1": (vgg16_features, yolov1_convs, yolov1(classes, (2,))),
        "yolov2": (darknet19, partial(passthrough, reorg="darknet_reorg"), yolov2(classes, (5,))),
        "yolov2-resnet": (resnet50, passthrough, yolov2(classes, (5,))),
        "yolov3": (darknet53, yolo_fpn, yolov3(classes, (3, 3, 3))),
        "yolov3-spp": (darknet53, spp_and_fpn, yolov3(classes, (3, 3, 3))),
        "yolov3-tiny": (darknet_tiny, partial(yolo_fpn, convs=(0, 1)), yolov3(classes, (3, 3))),
        "yolov4": (cspdarknet53, spp_and_pan, yolov4(classes, (3, 3, 3))),
        "yolov4-tiny": (
            cspdarknet53_tiny,
            partial(yolo_fpn, convs=(0, 1)),
            yolov4(classes, (3, 3)),
        ),
    }[name]
    return Net(backbone(width=width), neck(width=width), head, **PIXELS)


def shapes(module, x):
    """(output, variables) of a module for input of these shapes, which may be a tuple of maps."""
    x = jax.tree.map(lambda shape: jnp.zeros(shape), x, is_leaf=lambda x: isinstance(x[0], int))
    return jax.eval_shape(lambda: module.init_with_output(KEY, x, train=False))


def draw(module, x):
    """Random variables for input of these shapes, without compiling a network to make them."""
    rng = np.random.default_rng(0)
    _, variables = shapes(module, x)

    def one(shape):
        fan_in = np.prod(shape[:-1])
        return rng.normal(size=shape) * np.sqrt(2 / fan_in) if len(shape) > 1 else np.ones(shape)

    return jax.tree.map(lambda leaf: one(leaf.shape).astype(np.float32), variables)


def count(tree):
    return sum(x.size for x in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("name", "classes", "size", "anchors", "numbers"),
    [  # Darknet's files have 4 bytes a number, of variables and statistics, after 16 or 20 others
        ("yolov3", 80, 416, 3 * (52**2 + 26**2 + 13**2), (248_007_048 - 20) / 4),
        ("yolov3", 80, 320, 3 * (40**2 + 20**2 + 10**2), (248_007_048 - 20) / 4),
        ("yolov2", 80, 608, 5 * 19**2, (203_934_260 - 16) / 4),
        ("yolov2", 20, 416, 5 * 13**2, (202_704_260 - 16) / 4),
        ("yolov1", 20, 320, 2 * 10**2, None),
        ("yolov1", 20, 448, 2 * 14**2, None),
        ("yolov2-resnet", 80, 320, 5 * 10**2, None),
        ("yolov2-resnet", 80, 608, 5 * 19**2, None),
    ],
)
def test_sizes_of_networks(name, classes, size, anchors, numbers):
    raw, variables = shapes(net(name, classes), (2, size, size, 3))
    assert raw.boxes.shape == (2, anchors, 4) and raw.objectness.shape == (2, anchors)
    assert raw.logits.shape == (2, anchors, classes)
    assert set(variables["params"]) == {"backbone", "neck", "head"}
    assert numbers in (None, count(variables))


@pytest.mark.parametrize(
    ("backbone", "channels", "parameters"),
    [  # of the classifiers without their last layer: 25,557,032 of torchvision's less 2,049,000
        (resnet50(), (512, 1024, 2048), 23_508_032),
        (vgg16_features(), (512, 512, 512), 14_714_688),
        # Of the files darknet19_448.conv.23 and darknet53.conv.74, without running statistics.
        (darknet19(), (512, 1024), (79_327_120 - 16) / 4 - 2 * 7200),
        (darknet53(), (256, 512, 1024), (162_482_580 - 20) / 4 - 2 * 17_856),
    ],
)
def test_backbones(backbone, channels, parameters):
    for size in (320, 416):
        maps, variables = shapes(backbone, (2, size, size, 3))
        assert tuple(m.shape[-1] for m in maps) == channels
        assert tuple(size // m.shape[1] for m in maps) == backbone.strides
        assert count(variables["params"]) == parameters


@pytest.mark.parametrize("name", ["yolov2", "yolov3"])
def test_sides_must_be_multiples_of_32(name):
    with pytest.raises(ValueError, match=r"cells do not align.* multiples of 32"):
        shapes(net(name, 2, NARROW), (1, 336, 336, 3))


def test_conv_block_by_hand():
    x = jnp.array([2.0, -3.0]).reshape(1, 1, 2, 1)
    layer = ConvBlock(1, norm=None, activation=leaky_relu)
    given = {"params": {"conv": {"kernel": jnp.full((1, 1, 1, 1), 2.0), "bias": jnp.ones(1)}}}
    np.testing.assert_allclose(layer.apply(given, x, train=True).ravel(), [5, -0.5], rtol=1e-6)
    given = {
        "params": {
            "conv": {"kernel": jnp.full((1, 1, 1, 1), 2.0)},
            "norm": {"scale": jnp.array([3.0]), "bias": jnp.array([1.0])},
        },
        "batch_stats": {"norm": {"mean": jnp.array([-1.0]), "var": jnp.array([4.0])}},
    }
    y = ConvBlock(1, activation=leaky_relu).apply(given, x, train=False)
    np.testing.assert_allclose(y.ravel(), [1 + 3 * 5 / 2, 0.1 * (1 - 3 * 5 / 2)], rtol=1e-5)


@pytest.mark.parametrize(
    ("module", "x"),
    [
        (darknet19, (1, 64, 64, 3)),
        (passthrough, ((1, 4, 4, 32), (1, 2, 2, 64))),
        (yolov1_convs, ((1, 2, 2, 64),)),
    ],
)
def test_batch_norm_is_a_switch(module, x):
    """Without it every convolution has a bias, and nothing else changes."""
    _, with_norm = shapes(module(width=NARROW), x)
    _, without = shapes(module(width=NARROW, norm=None), x)
    assert "batch_stats" in with_norm and "batch_stats" not in without
    flat = flatten_dict(with_norm["params"])
    kernels = {path: leaf.shape for path, leaf in flat.items() if path[-1] == "kernel"}
    biases = {(*path[:-1], "bias"): shape[-1:] for path, shape in kernels.items()}
    found = {path: leaf.shape for path, leaf in flatten_dict(without["params"]).items()}
    assert found == kernels | biases


def test_passthrough_is_a_switch():
    """It decides whether the output depends on the finer map, and by how much."""
    fine, coarse = jax.random.normal(KEY, (1, 4, 4, 8)), jax.random.normal(KEY, (1, 2, 2, 16))

    def influence(neck):
        variables = draw(neck, (fine.shape, coarse.shape))
        out = lambda fine: neck.apply(variables, (fine, coarse), train=False)[0].sum()
        gradient = jax.jit(jax.grad(out))(fine)
        return np.abs(gradient).sum(), variables["params"]["conv3"]["conv"]["kernel"]

    seen, kernel = influence(passthrough(width=NARROW))
    assert seen > 0 and kernel.shape == (3, 3, 4 * 4 + 64, 64)
    seen, kernel = influence(passthrough(width=NARROW, passthrough=False))
    assert seen == 0 and kernel.shape == (3, 3, 64, 64)


def test_an_unknown_reorg_is_refused():
    with pytest.raises(ValueError, match="reorg is 'flat', expected one of space_to_depth, dark"):
        shapes(passthrough(width=NARROW, reorg="flat"), ((1, 4, 4, 32), (1, 2, 2, 64)))


def test_space_to_depth_by_loops():
    x = np.random.default_rng(0).normal(size=(2, 4, 6, 3)).astype(np.float32)
    y = np.zeros((2, 2, 3, 12), np.float32)
    for row, column, dy, dx, c in np.ndindex(2, 3, 2, 2, 3):
        y[:, row, column, (2 * dy + dx) * 3 + c] = x[:, 2 * row + dy, 2 * column + dx, c]
    np.testing.assert_array_equal(space_to_depth(x), y)


def test_darknet_reorg_by_loops():
    """As `reorg_cpu` addresses memory: the output, at its input's shape, out of a larger map."""
    batch, height, width, channels = 2, 6, 4, 8
    x = np.random.default_rng(0).normal(size=(batch, height, width, channels))
    few, flat = channels // 4, x.astype(np.float32).transpose(0, 3, 1, 2).reshape(batch, -1)
    out = np.zeros_like(flat)
    for k, j, i in np.ndindex(channels, height, width):
        row, column = 2 * j + k // few // 2, 2 * i + k // few % 2
        source = column + 2 * width * (row + 2 * height * (k % few))
        out[:, i + width * (j + height * k)] = flat[:, source]
    expected = out.reshape(batch, 4 * channels, height // 2, width // 2).transpose(0, 2, 3, 1)
    found = darknet_reorg(jnp.asarray(x, jnp.float32))
    np.testing.assert_array_equal(found, expected)
    assert not np.array_equal(found, space_to_depth(x.astype(np.float32)))


def test_yolo_fpn_puts_the_coarser_map_first():
    """A 1x1 convolution that takes only its first channels sees what comes from above."""
    maps = tuple(jax.random.normal(KEY, (1, s, s, c)) for s, c in ((4, 16), (2, 32), (1, 64)))
    neck = yolo_fpn(width=NARROW)
    flat = flatten_dict(draw(neck, tuple(m.shape for m in maps)))
    flat["params", "conv0_1", "conv", "kernel"] = jnp.eye(8 + 16, 8).reshape(1, 1, 24, 8)
    flat["params", "up0", "norm", "scale"] = jnp.zeros(8)
    flat["params", "up0", "norm", "bias"] = jnp.arange(1.0, 9)  # whatever comes in
    named = lambda module, method: module.name == "conv0_1"
    levels, seen = jax.jit(
        lambda variables: neck.apply(
            variables, maps, train=False, capture_intermediates=named, mutable=["intermediates"]
        )
    )(unflatten_dict(flat))
    assert [m.shape for m in levels] == [(1, 4, 4, 16), (1, 2, 2, 32), (1, 1, 1, 64)]
    (y,) = seen["intermediates"]["conv0_1"]["__call__"]
    expected = 1 + (np.arange(1, 9) - 1) / np.sqrt(1 + 1e-5)  # mean, variance and bias are 1
    np.testing.assert_allclose(y, np.broadcast_to(expected, y.shape), rtol=1e-6)


def test_double_by_hand():
    x = jnp.array([[1, 2], [3, 4]]).reshape(1, 2, 2, 1)
    expected = [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    assert double(x)[0, ..., 0].tolist() == expected


def numbered(head, *sides):
    """The outputs of a head whose last layers give every output of a cell its number."""
    maps = tuple(jnp.ones((1, side, side, 3)) for side in sides)
    variables = jax.tree.map(jnp.zeros_like, draw(head, tuple(m.shape for m in maps)))
    for layer in variables["params"].values():
        layer["conv"]["bias"] = jnp.arange(float(layer["conv"]["bias"].size))
    return head.apply(variables, maps, train=False)


@pytest.mark.parametrize("head", [yolov2, yolov3])
def test_outputs_of_a_cell_are_darknets(head):
    boxes, logits, objectness = numbered(head(3, (2, 1)), 2, 1)
    assert boxes.shape == (1, 2 * 4 + 1, 4) and logits.shape == (1, 9, 3)
    assert boxes[0, :2].tolist() == [[0, 1, 2, 3], [8, 9, 10, 11]]
    assert objectness[0].tolist() == [4, 12] * 4 + [4]
    assert logits[0, 7:].tolist() == [[13, 14, 15], [5, 6, 7]]


def test_boxes_of_a_yolov1_cell_share_its_classes():
    boxes, logits, objectness = numbered(yolov1(3, (2,)), 2)
    assert boxes.shape == (1, 2 * 4, 4)
    assert boxes[0, 6:].tolist() == [[0, 1, 2, 3], [5, 6, 7, 8]]
    assert objectness[0].tolist() == [4, 9] * 4
    assert logits[0].tolist() == [[10, 11, 12]] * 8


@pytest.mark.parametrize("head", [yolov1, yolov2])
@pytest.mark.parametrize(("hidden", "seen"), [(0, 1), (16, 9)])
def test_fully_convolutional_is_a_switch(head, hidden, seen):
    """A convolution sees its own cell; fully connected layers see the map, of one size only."""
    layer = head(2, (2,), fully_connected=hidden)
    variables = draw(layer, ((1, 3, 3, 4),))
    corner = lambda x: layer.apply(variables, (x,), train=False)[0][0, 0].sum()
    gradient = jax.jit(jax.grad(corner))(jax.random.normal(KEY, (1, 3, 3, 4)))
    assert np.abs(gradient).sum(-1).astype(bool).sum() == seen
    larger = lambda: layer.apply(variables, (jnp.ones((1, 4, 4, 4)),), train=False)
    if hidden:
        with pytest.raises(flax.errors.ScopeParamShapeError):
            larger()
    else:
        assert larger()[0].shape == (1, 32, 4)


def test_fully_connected_layers_drop_half_in_training():
    x, head = (jnp.ones((1, 1, 1, 1)),), yolov2(1, (1,), fully_connected=2000)
    variables = jax.tree.map(jnp.ones_like, draw(head, ((1, 1, 1, 1),)))  # two to each unit
    boxes, _, _ = head.apply(variables, x, train=True, rngs={"dropout": KEY})
    assert boxes[0, 0, 0] != 4001 and abs(boxes[0, 0, 0] - 4001) < 600
    assert head.apply(variables, x, train=False)[0][0, 0, 0] == 4001
