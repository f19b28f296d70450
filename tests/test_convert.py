"""Reading weights by name tables: every array used once, every fault named."""

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from jaxdet.backbones.mobilenet_v2 import mobilenet_v2
from jaxdet.backbones.vgg16 import vgg16
from jaxdet.convert import torchvision, weights

TABLE = {"a.0": "backbone/stem/conv", "a.1": "backbone/stem/norm", "top": None}


def theirs():
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
    return {
        "a.0.weight": draw(5, 2, 3, 3),
        "a.0.bias": draw(5),
        "a.1.weight": draw(5),
        "a.1.bias": draw(5),
        "a.1.running_mean": draw(5),
        "a.1.running_var": draw(5),
        "a.1.num_batches_tracked": np.array(7),
        "top.weight": draw(10, 5),
    }


def ours():
    empty = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)
    conv = {"kernel": empty(3, 3, 2, 5), "bias": empty(5)}
    norm = {"scale": empty(5), "bias": empty(5)}
    return {
        "params": {"backbone": {"stem": {"conv": conv, "norm": norm}}},
        "batch_stats": {"backbone": {"stem": {"norm": {"mean": empty(5), "var": empty(5)}}}},
    }


def test_kernels_turn_and_back():
    given = theirs()
    variables = weights.to_ours(given, TABLE, ours())
    kernel = variables["params"]["backbone"]["stem"]["conv"]["kernel"]
    assert kernel[2, 1, 0, 4] == given["a.0.weight"][4, 0, 2, 1]
    norm = variables["batch_stats"]["backbone"]["stem"]["norm"]
    np.testing.assert_array_equal(norm["var"], given["a.1.running_var"])
    back = weights.to_theirs(variables, weights.paths(given, TABLE))
    assert set(given) - set(back) == {"a.1.num_batches_tracked", "top.weight"}
    for name, array in back.items():
        np.testing.assert_array_equal(array, given[name])


def test_a_frozen_normalisation_has_its_scale_among_the_statistics():
    given, variables = theirs(), ours()
    norm = variables["params"]["backbone"]["stem"].pop("norm")
    variables["batch_stats"]["backbone"]["stem"]["norm"] |= norm
    found = weights.to_ours(given, TABLE, variables)["batch_stats"]["backbone"]["stem"]["norm"]
    np.testing.assert_array_equal(found["scale"], given["a.1.weight"])
    np.testing.assert_array_equal(found["bias"], given["a.1.bias"])
    np.testing.assert_array_equal(found["mean"], given["a.1.running_mean"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a.1.bias": None}, "missing: params/backbone/stem/norm/bias"),
        ({"b.weight": np.ones(3)}, r"unknown names: b\.weight \(3,\)"),
        (
            {"a.1.running_mean": np.ones(4)},
            r"a\.1\.running_mean has shape \(4,\), but batch_stats.* is \(5,\)",
        ),
    ],
)
def test_faults_are_named(change, message):
    given = {name: array for name, array in (theirs() | change).items() if array is not None}
    with pytest.raises(ValueError, match=message):
        weights.to_ours(given, TABLE, ours())


def test_leftovers_and_repeats_are_named():
    variables = ours()
    del variables["params"]["backbone"]["stem"]["conv"]["bias"]
    with pytest.raises(ValueError, match=r"left over: a\.0\.bias"):
        weights.to_ours(theirs(), TABLE, variables)
    twice = theirs() | {"c.weight": np.ones((5, 2, 3, 3), np.float32)}
    with pytest.raises(
        ValueError, match=r"given twice: .*conv/kernel, the second time as c\.weight"
    ):
        weights.to_ours(twice, TABLE | {"c": "backbone/stem/conv"}, ours())


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"there is no weights file .*none\.safetensors"):
        weights.read(tmp_path / "none.safetensors")


def whole(backbone):
    """Shapes of a detector with this backbone and one more parameter."""
    pixels = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    part = jax.eval_shape(lambda x: backbone.init(jax.random.key(0), x, train=False), pixels)
    return {kind: {"backbone": tree, "head": {"w": kind}} for kind, tree in part.items()}


def test_imagenet_mobilenet_v2(shared):
    file = shared / "weights" / "mobilenet_v2_imagenet.safetensors"
    variables = weights.load_backbone(file, whole(mobilenet_v2()), model=("mobilenet_v2",))
    given = safetensors.numpy.load_file(file)
    assert variables["params"]["head"] == {"w": "params"}
    np.testing.assert_array_equal(
        variables["params"]["backbone"]["block3"]["depthwise"]["conv"]["kernel"][1, 2, 0],
        given["features.3.conv.1.0.weight"][:, 0, 1, 2],
    )
    np.testing.assert_array_equal(
        variables["batch_stats"]["backbone"]["last"]["norm"]["var"],
        given["features.18.1.running_var"],
    )


def test_unknown_backbone_is_refused(tmp_path):
    with pytest.raises(ValueError, match="for .*mobilenet_v2, .*vgg16.*, not for 'nothing'"):
        weights.load_backbone(tmp_path / "x", {}, model=("nothing",))


def vgg_classifier():
    """Zeros in the shapes of torchvision's vgg16, but for numbers at known places."""
    shapes = {
        "classifier.0": (4096, 25088),
        "classifier.3": (4096, 4096),
        "classifier.6": (1000, 4096),
    }
    inputs = 3
    for i, name in torchvision.VGG16_CONVS.items():
        outputs = 64 * 2 ** min(int(name[4]) - 1, 3)
        shapes[f"features.{i}"] = (outputs, inputs, 3, 3)
        inputs = outputs
    given = {f"{n}.weight": np.zeros(s, np.float32) for n, s in shapes.items()}
    given |= {f"{n}.bias": np.arange(s[0], dtype=np.float32) for n, s in shapes.items()}
    given["classifier.0.weight"].reshape(4096, 512, 7, 7)[8, 5, 3, 6] = 1  # kept: multiples
    given["classifier.0.weight"].reshape(4096, 512, 7, 7)[9, 5, 3, 6] = 2
    given["classifier.3.weight"][4, 12] = 3
    return given


@pytest.mark.slow
def test_vgg16_classifier_becomes_fc6_and_fc7(tmp_path):
    safetensors.numpy.save_file(vgg_classifier(), tmp_path / "vgg16.safetensors")
    variables = weights.load_backbone(
        tmp_path / "vgg16.safetensors", whole(vgg16()), model=("vgg16",)
    )
    fc6, fc7 = (variables["params"]["backbone"][name] for name in ("fc6", "fc7"))
    assert fc6["kernel"].shape == (3, 3, 512, 1024)
    assert fc6["kernel"][1, 2, 5, 2] == 1
    assert fc6["kernel"].sum() == 1
    assert fc7["kernel"][0, 0, 3, 1] == 3
    assert fc6["bias"][:3].tolist() == [0, 4, 8]


def test_tables_name_every_part_of_their_backbone():
    """Without weights at hand: the names on our side are the networks' own."""
    for name, backbone in (("vgg16", vgg16()), ("mobilenet_v2", mobilenet_v2())):
        params = flax.traverse_util.flatten_dict(whole(backbone)["params"]["backbone"])
        modules = {"/".join(path[:-1]) for path in params}
        assert {path for path in torchvision.BACKBONES[name].values() if path} == modules
