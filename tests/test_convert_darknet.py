"""Darknet's files and yjh0410's names: every number where it belongs, every misfit refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from test_yolo_nets import KEY, NARROW, PIXELS, net

from jaxdet.backbones.darknet19 import darknet19
from jaxdet.backbones.resnet50 import resnet50
from jaxdet.backbones.vgg16_features import vgg16_features
from jaxdet.convert import darknet, torchvision, weights, yjh0410
from jaxdet.detectors.net import Net
from jaxdet.heads.yolov2 import yolov2
from jaxdet.layers.activations import leaky_relu
from jaxdet.layers.blocks import ConvBlock
from jaxdet.necks.passthrough import passthrough


def pairs(narrow, times):
    return [(narrow, 1), (2 * narrow, 3)] * times


# Filters and kernel side of every convolution of the .cfg files, for two classes.
DARKNET19 = [(32, 3), (64, 3), (128, 3), (64, 1), (128, 3), (256, 3), (128, 1), (256, 3), (512, 3)]
DARKNET19 += [(256, 1), (512, 3)] * 2 + [(1024, 3)] + pairs(512, 2)
DARKNET53 = [(32, 3)]
for channels, times in ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)):
    DARKNET53 += [(channels, 3), *pairs(channels // 2, times)]
PREDICTION = (3 * 7 / NARROW, 1)
CSP53 = [(32, 3), (64, 3), (64, 1), (64, 1), *pairs(32, 1), (64, 1), (64, 1)]
for channels, times in ((64, 2), (128, 8), (256, 8), (512, 4)):
    within = [(channels, 1), (channels, 3)] * times
    CSP53 += [(2 * channels, 3), (channels, 1), (channels, 1), *within]
    CSP53 += [(channels, 1), (2 * channels, 1)]
CSP53_TINY = [(32, 3)]
for channels in (64, 128, 256):
    half = [(channels // 2, 3)] * 2
    CSP53_TINY += [(64, 3)] * (channels == 64) + [(channels, 3), *half, (channels, 1)]
CSP53_TINY += [(512, 3)]
TINY = [(16 * 2**i, 3) for i in range(7)]
TWO_LEVELS = [(256, 1), (512, 3), PREDICTION, (128, 1), (256, 3), PREDICTION]
FINER = [(256, 1), *pairs(256, 3), PREDICTION, (128, 1), *pairs(128, 3), PREDICTION]
SPP = [(512, 1), (1024, 3), (512, 1)] * 2
PAN = []
for channels in (256, 128):
    PAN += [(channels, 1), (channels, 1), *pairs(channels, 3)[:-1]]
PAN += [(256, 3), PREDICTION]
for channels in (256, 512):
    PAN += [(channels, 3), *pairs(channels, 3)[:-1], (2 * channels, 3), PREDICTION]
CFG = {
    "yolov2": [*DARKNET19, (1024, 3), (1024, 3), (64, 1), (1024, 3), (5 * 7 / NARROW, 1)],
    "yolov3": [*DARKNET53, *pairs(512, 3), PREDICTION, *FINER],
    "yolov3-spp": [*DARKNET53, *SPP, (1024, 3), PREDICTION, *FINER],
    "yolov3-tiny": [*TINY, *TWO_LEVELS],
    "yolov4": [*CSP53, *SPP, *PAN],
    "yolov4-tiny": [*CSP53_TINY, *TWO_LEVELS],
}
MODELS = {
    "yolov2": ("yolov2", "passthrough", "darknet19"),
    "yolov3": ("yolov3", "yolo_fpn", "darknet53"),
    "yolov3-spp": ("yolov3", "spp+yolo_fpn", "darknet53"),
    "yolov3-tiny": ("yolov3", "yolo_fpn", "darknet_tiny"),
    "yolov4": ("yolov4", "spp+pan", "cspdarknet53"),
    "yolov4-tiny": ("yolov4", "yolo_fpn", "cspdarknet53_tiny"),
}


def shapes(module, side=32):
    run = functools.partial(module.init, train=False)
    return jax.eval_shape(run, KEY, jnp.zeros((1, side, side, 3)))


def size(variables):
    return sum(x.size for x in jax.tree.leaves(variables))


def write(file, numbers, version=(0, 2, 0)):
    seen = np.array([1], "<i8" if version[:2] != (0, 1) else "<i4")
    parts = [np.array(version, "<i4"), seen, np.asarray(numbers, "<f4")]
    file.write_bytes(b"".join(part.tobytes() for part in parts))
    return file


@pytest.fixture
def v2(tmp_path):
    """A file of a narrow YOLOv2 for two classes, which counts from 0, and our shapes."""
    variables = shapes(net("yolov2", 2, NARROW))
    return write(tmp_path / "v2.weights", np.arange(size(variables))), variables


@pytest.mark.parametrize("name", CFG)
@pytest.mark.parametrize("version", [(0, 1, 0), (0, 2, 5)])
def test_every_number_is_used_once_in_the_order_of_the_cfg(name, version, tmp_path):
    variables = shapes(net(name, 2, NARROW))
    file = write(tmp_path / "some.weights", np.arange(size(variables)), version)
    entries = weights.entries(file, darknet, MODELS[name], variables)
    kernels = [x.shape for _, path, x in entries if path[-1] == "kernel"]
    assert [(x[-1] / NARROW, x[0]) for x in kernels] == CFG[name]
    ours, fresh = weights.fill(entries, variables)
    assert not fresh
    values = np.concatenate([x.ravel() for x in jax.tree.leaves(ours)])
    np.testing.assert_array_equal(np.sort(values), np.arange(size(variables)))


def test_arrays_of_a_layer(v2):
    file, variables = v2
    entries = weights.entries(file, darknet, MODELS["yolov2"], variables)
    ours, _ = weights.fill(entries, variables)
    layer, stats = ours["params"]["backbone"]["conv1_1"], ours["batch_stats"]["backbone"]["conv1_1"]
    np.testing.assert_array_equal(layer["norm"]["bias"], [0, 1])  # of two channels
    np.testing.assert_array_equal(layer["norm"]["scale"], [2, 3])
    np.testing.assert_array_equal(stats["norm"]["mean"], [4, 5])
    np.testing.assert_array_equal(stats["norm"]["var"], [6, 7])
    for row, column, i, o in np.ndindex(3, 3, 3, 2):
        assert layer["conv"]["kernel"][row, column, i, o] == 8 + 27 * o + 9 * i + 3 * row + column
    last = ours["params"]["head"]["level0"]["conv"]
    start = size(variables) - 35 * 65
    np.testing.assert_array_equal(last["bias"], np.arange(start, start + 35))
    np.testing.assert_array_equal(last["kernel"][0, 0, :, 1], start + 35 + 64 + np.arange(64))


@pytest.mark.parametrize("name", CFG)
def test_other_classes_keep_all_but_the_last_layers(name, tmp_path):
    theirs, ours = shapes(net(name, 4, NARROW)), shapes(net(name, 2, NARROW))
    file = write(tmp_path / "four.weights", np.arange(size(theirs)))
    read = lambda variables: weights.entries(file, darknet, MODELS[name], variables)
    kept, fresh = weights.fill(read(ours), ours, class_parts=("head",))
    whole, _ = weights.fill(read(theirs), theirs)
    with pytest.raises(ValueError, match="head/level./conv/bias is"):
        weights.fill(read(ours), ours)
    assert {path.split("/")[1] for path in fresh} == {"head"}
    assert len(fresh) == len(jax.tree.leaves(ours["params"]["head"]))
    for part in ("backbone", "neck"):
        for kind in kept:
            jax.tree.map(np.testing.assert_array_equal, kept[kind][part], whole[kind][part])


def test_misfits_are_refused(v2, tmp_path):
    file, variables = v2
    total = size(variables)

    def read(file, variables=variables):
        return weights.entries(file, darknet, MODELS["yolov2"], variables)

    for more in (-1, 1):
        other = write(tmp_path / "other.weights", np.arange(total + more))
        with pytest.raises(
            ValueError, match=f"{total + more:,} numbers, the network has {total:,}"
        ):
            read(other)
    with pytest.raises(ValueError, match=r"would be negative"):
        read(write(tmp_path / "other.weights", -np.arange(total)))
    with pytest.raises(ValueError, match="not all numbers are finite"):
        read(write(tmp_path / "other.weights", np.full(total, np.nan)))
    (tmp_path / "other.weights").write_bytes(b"1234")
    with pytest.raises(ValueError, match="ends within the header"):
        read(tmp_path / "other.weights")
    with pytest.raises(ValueError, match="there is no weights file"):
        read(tmp_path / "none.weights")
    neck = passthrough(width=NARROW)  # of the same shapes, with another reorganisation
    proper = Net(darknet19(width=NARROW), neck, yolov2(2, (5,)), **PIXELS)
    assert size(shapes(proper)) == total
    with pytest.raises(ValueError, match="has no neck/darknet_reorg, which Darknet's has"):
        read(file, shapes(proper))


@pytest.mark.parametrize(
    ("name", "file", "after"),
    [
        ("yolov2", "darknet19_448.conv.23", 0),
        ("yolov3", "darknet53.conv.74", 0),
        ("yolov3-tiny", "yolov3-tiny.conv.15", 2),
        ("yolov4", "csdarknet53-omega.conv.105", 0),
        ("yolov4", "yolov4.conv.137", 20),
        ("yolov4-tiny", "yolov4-tiny.conv.29", 2),
    ],
)
def test_networks_begin_with_darknets_first_layers(name, file, after, tmp_path):
    """The backbone, and `after` more convolutions."""
    variables, model = shapes(net(name, 2, NARROW)), MODELS[name]
    layers = darknet.MODELS[model][: len(darknet.BACKBONES[model[-1]]) + after]
    places = [place for layer in layers for place in darknet._places(layer, variables)]
    count = sum(np.prod(shape, dtype=int) for _, shape in places)
    blank = jax.tree.map(lambda x: np.full(x.shape, -1.0, np.float32), variables)
    file = write(tmp_path / file, np.arange(count), (0, 1, 0))
    loaded = weights.load_backbone(file, blank, model=model)
    values = np.concatenate([x.ravel() for x in jax.tree.leaves(loaded)])
    np.testing.assert_array_equal(np.sort(values[values >= 0]), np.arange(count))
    assert (values < 0).sum() == size(variables) - count
    for more in (-1, 1):
        write(file, np.arange(count + more))
        expected = f"{count + more:,} numbers, expected the .* of {model[-1]}, or more layers"
        with pytest.raises(ValueError, match=expected):
            weights.load_backbone(file, blank, model=model)
    with pytest.raises(ValueError, match="Darknet has .*darknet53, .* not 'vgg16'"):
        weights.load_backbone(file, variables, model=("vgg16",))


def test_yjh0410_table_names_every_layer():
    neck = passthrough(width=NARROW)
    flat = flatten_dict(shapes(Net(darknet19(width=NARROW), neck, yolov2(2, (5,)), **PIXELS)))
    assert set(yjh0410.MODELS[MODELS["yolov2"]].values()) == {"/".join(path[1:-1]) for path in flat}


def test_yjh0410_bias_before_a_batch_norm_goes_into_its_mean():
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.uniform(0.5, 1.5, shape).astype(np.float32)
    theirs = {"a.convs.0.weight": draw(5, 3, 1, 1), "a.convs.0.bias": draw(5)}
    theirs |= {f"a.convs.1.{k}": draw(5) for k in ("weight", "bias", "running_mean", "running_var")}
    layer, x = ConvBlock(5, activation=leaky_relu), draw(1, 1, 1, 3)
    expected = jax.eval_shape(functools.partial(layer.init, train=False), KEY, x)
    given = yjh0410.rearrange({**theirs, "b.convs.1.running_mean": np.ones(2)})  # has no bias
    assert given.pop("b.convs.1.running_mean").tolist() == [1, 1]
    ours = weights.to_ours(given, {"a.convs.0": "conv", "a.convs.1": "norm"}, expected)
    conv = theirs["a.convs.0.weight"][..., 0, 0] @ x.ravel() + theirs["a.convs.0.bias"]
    root = np.sqrt(theirs["a.convs.1.running_var"] + 1e-5)
    y = (conv - theirs["a.convs.1.running_mean"]) / root * theirs["a.convs.1.weight"]
    y += theirs["a.convs.1.bias"]
    y = np.where(y > 0, y, 0.1 * y)
    np.testing.assert_allclose(layer.apply(ours, x, train=False).ravel(), y, rtol=1e-5)


def test_yjh0410_outputs_by_anchor():
    """For two classes: objectness of all five anchors, then classes of all, then boxes of all."""
    bias = yjh0410.rearrange({"pred.bias": np.arange(35)})["pred.bias"].reshape(5, 7)
    assert bias[0].tolist() == [15, 16, 17, 18, 0, 5, 6]
    assert bias[4].tolist() == [31, 32, 33, 34, 4, 13, 14]


@pytest.mark.parametrize(
    ("backbone", "name"), [(resnet50(), "resnet50"), (vgg16_features(), "vgg16_features")]
)
def test_torchvision_tables_name_every_layer(backbone, name):
    flat = flatten_dict(shapes(backbone))
    named = [path for path in torchvision.BACKBONES[name].values() if path]
    assert sorted(named) == sorted({"/".join(path[1:-1]) for path in flat})
