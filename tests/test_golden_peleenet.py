"""PeleeNet and Pelee against what the references compute, from the same weights.

Reference numbers: Robert-JunWang/PeleeNet at 05e928a (PyTorch) and Robert-JunWang/Pelee at 96979b3
(the Caffe graph of SSD304) with seeded random weights and two COCO photos. They are not part of the
repository.
"""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_configs import CONFIGS, load
from test_golden_lufficc import norms
from test_golden_yolo_nets import maker

from jaxdet import build
from jaxdet.backbones.peleenet import peleenet
from jaxdet.convert import peleenet as names
from jaxdet.convert import weights

BACKBONE = peleenet(strides=(4, 8, 16, 32))
# float64, of float32 numbers: exactly what the reference's float64 run normalised with.
MEAN, STD = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], np.float32).astype(np.float64)
STORED_GRAPH = (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)  # its scales are not the recipe's


def given(shared, manifest, name):
    """The weights, arrays and numbers of `name`."""
    folder = shared / "golden" / "peleenet"
    described = json.loads((folder / manifest).read_text())
    with np.load(folder / f"{name}.npz") as file:
        arrays = dict(file)
    drawn = maker(shared).draw_all(described, described["seed"])
    return drawn, arrays, json.loads((folder / f"{name}.json").read_text())


@functools.cache
def classifier(shared):
    """Their weights, our variables, the normalised input, their arrays and numbers."""
    drawn, arrays, numbers = given(shared, "manifest.json", "peleenet_224")
    x = (arrays["input"] / 255 - MEAN) / STD
    init = functools.partial(BACKBONE.init, train=False)
    shapes = jax.eval_shape(init, jax.random.key(0), x)
    variables = weights.to_ours(drawn, names.BACKBONES["peleenet"], shapes)
    return drawn, variables, x, arrays, numbers


def logits(features, head):
    kernel, bias = head["classifier.weight"], head["classifier.bias"]
    return features.mean((1, 2)) @ kernel.T + bias.reshape(1, -1)


@pytest.mark.slow
def test_maps_equal_the_reference(shared):
    drawn, variables, x, arrays, _ = classifier(shared)
    maps = jax.jit(functools.partial(BACKBONE.apply, train=False))(variables, x.astype(np.float32))
    for number, (y, every) in enumerate(zip(maps, (16, 8, 8, 2), strict=True), start=1):
        np.testing.assert_allclose(y[..., ::every], arrays[f"transition{number}"], atol=1e-4)
    np.testing.assert_allclose(logits(maps[-1], drawn), arrays["logits"], atol=1e-3)


@pytest.mark.slow
def test_training_in_float64_equals_the_reference(shared):
    drawn, variables, x, arrays, numbers = classifier(shared)
    head = {name: drawn[name] for name in ("classifier.weight", "classifier.bias")}
    with jax.enable_x64(True):
        double = lambda tree: jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), tree)
        variables = double(variables)

        def loss(params, head):
            now = {**variables, "params": params}
            maps, new = BACKBONE.apply(now, jnp.asarray(x), train=True, mutable=["batch_stats"])
            chances = jax.nn.log_softmax(logits(maps[-1], head))
            return -chances[jnp.arange(2), arrays["labels"]].mean(), new["batch_stats"]

        take = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
        (value, stats), (of_params, of_head) = take(variables["params"], double(head))
        where = weights.paths(drawn, names.BACKBONES["peleenet"])
        found = {**weights.to_theirs({"params": of_params}, where), **of_head}
        assert value == pytest.approx(numbers["loss_train_float64"], rel=1e-9)
        assert found.keys() == numbers["grad_norm_float64"].keys()
        for name, norm in numbers["grad_norm_float64"].items():
            assert np.linalg.norm(found[name]) == pytest.approx(norm, rel=1e-6), name
        after = norms({"batch_stats": stats}, where)
    expected = numbers["bn_running_mean_norm"] | numbers["bn_running_var_norm"]
    assert after == pytest.approx(expected, rel=1e-5)


@functools.cache
def detector():
    """The recipe's detector with the stored graph's default boxes, and the table of its names."""
    (path,) = [path for path in CONFIGS if path.stem == "pelee_ssd304_voc"]
    config = load(path).get_config()
    config.model.detector.scales = STORED_GRAPH
    recipe = build.recipe(config, tuple(f"class {i}" for i in range(20)))
    return recipe.detector, names.MODELS[recipe.model]


@functools.cache
def ssd304(shared):
    made, table = detector()
    drawn, arrays, numbers = given(shared, "pelee_ssd304_manifest.json", "pelee_ssd304")
    shapes = jax.eval_shape(made.init, jax.random.key(0))
    return weights.to_ours(names.rearrange(drawn), table, shapes), arrays, numbers


def test_default_boxes_equal_the_reference(shared):
    with np.load(shared / "golden" / "peleenet" / "pelee_ssd304.npz") as file:
        np.testing.assert_allclose(
            detector()[0].anchors_at((304, 304)).boxes, file["priors"], atol=1e-6
        )


@pytest.mark.slow
def test_pelee_equals_the_reference(shared):
    variables, arrays, numbers = ssd304(shared)
    net = detector()[0].net
    raw = jax.jit(functools.partial(net.apply, train=False))(variables, arrays["input"])
    np.testing.assert_allclose(raw.boxes, arrays["locations"], atol=1e-4)
    np.testing.assert_allclose(raw.logits[:1], arrays["logits"], atol=1e-4)
    np.testing.assert_allclose(raw.logits[1, ::8], arrays["logits_1_every_8th"], atol=1e-4)
    sizes = jax.tree.map(lambda x: x.size, variables["params"])
    parts = {part: sum(jax.tree.leaves(sizes[part])) for part in sizes}
    expected = numbers["parameters_of"]
    assert parts == {
        "backbone": expected["backbone"],
        "neck": expected["extra_layers"] + expected["residual_prediction"],
        "head": expected["predictions"],
    }
