"""YOLOX's blocks, backbone and neck against what the PyTorch reference computes.

Reference numbers: Megvii-BaseDetection/YOLOX at 6ddff48 with seeded random weights and inputs. They
are not part of the repository.
"""

import dataclasses
import functools
import json
import re
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_golden_lufficc import norms
from test_golden_yolo_nets import maker

from jaxdet.backbones.csp_darknet import csp_darknet
from jaxdet.convert import weights
from jaxdet.layers.activations import leaky_relu, swish
from jaxdet.layers.csp import CSPLayer, SPPBottleneck, conv_blocks, focus
from jaxdet.layers.norms import slow_batch_norm
from jaxdet.necks.csp_pan import csp_pan


class Focus(nn.Module):
    """YOLOX's stem alone."""

    @nn.compact
    def __call__(self, x, *, train):
        conv, _ = conv_blocks(slow_batch_norm, swish, depthwise=False)
        return conv(16, 3, name="stem")(focus(x), train=train)


class BackboneAndNeck(nn.Module):
    """YOLOX without its head."""

    depth: float
    width: float
    depthwise: bool = False

    @nn.compact
    def __call__(self, x, *, train):
        options = dict(depth=self.depth, depthwise=self.depthwise)
        maps = csp_darknet(width=self.width, **options, name="backbone")(x, train=train)
        return csp_pan(**options, name="neck")(maps, train=train)


# What their names become, in this order; other parts of a name are the same.
NAMES = {
    r"^backbone\.backbone": "without_head.backbone",
    r"^backbone\.(?=\w*_conv|C3)": "without_head.",
    r"backbone\.stem\.conv": "backbone.stem",
    r"dark5\.1": "spp",
    r"dark5\.2": "stage5",
    r"dark(\d)\.0": r"down\1",
    r"dark(\d)\.1": r"stage\1",
    r"lateral_conv0": "neck.up1",
    r"reduce_conv1": "neck.up0",
    r"C3_p4": "neck.topdown1",
    r"C3_p3": "neck.topdown0",
    r"bu_conv2": "neck.down1",
    r"bu_conv1": "neck.down2",
    r"C3_n3": "neck.bottomup1",
    r"C3_n4": "neck.bottomup2",
    r"\bdconv": "depthwise",
    r"\bpconv": "pointwise",
    r"\bm\.(\d+)": lambda found: f"block{int(found[1]) + 1}",
    r"bn$": "norm",
    r"\.": "/",
}


def table_of(theirs):
    """{their name of a layer: ours}, from their names of arrays."""
    table = {}
    for layer in {name.rpartition(".")[0] for name in theirs}:
        table[layer] = layer
        for pattern, name in NAMES.items():
            table[layer] = re.sub(pattern, name, table[layer])
    return table


CASES = {
    "yolox_csp_shortcut": CSPLayer(48, 3),
    "yolox_csp_plain": CSPLayer(48, 1, shortcut=False),
    "yolox_csp_leaky": CSPLayer(32, 2, activation=leaky_relu),
    "yolox_spp_bottleneck": SPPBottleneck(48),
    "yolox_focus": Focus(),
    "yolox_pafpn": BackboneAndNeck(0.33, 0.25),
}
FAMILY = {  # depth, width, depthwise
    "nano": (0.33, 0.25, True),
    "tiny": (0.33, 0.375, False),
    "s": (0.33, 0.5, False),
    "m": (0.67, 0.75, False),
    "l": (1.0, 1.0, False),
    "x": (1.33, 1.25, False),
}


@dataclasses.dataclass
class Golden:
    """A module with the reference's weights and input, and the reference's numbers."""

    module: nn.Module
    variables: dict[str, Any]
    x: np.ndarray
    project: list[np.ndarray]  # the loss is the sum of the outputs times these
    paths: dict[str, tuple[str, ...]]
    outputs: list[np.ndarray]
    numbers: dict[str, Any]


def shapes_of(module, x):
    return jax.eval_shape(functools.partial(module.init, train=False), jax.random.key(0), x)


@functools.cache
def golden(shared, name):
    make, folder, module = maker(shared), shared / "golden" / "modules", CASES[name]
    manifest = json.loads((folder / "manifests" / f"{name}.json").read_text())
    drawn = make.draw_all(manifest, manifest["seed"])
    given = [name for name in drawn if name.startswith(("input.", "project."))]
    maps = {name: drawn.pop(name).transpose(0, 2, 3, 1) for name in given}
    table = table_of(drawn)
    if name == "yolox_focus":
        table = {layer: f"stem/{path.rpartition('/')[2]}" for layer, path in table.items()}
    with np.load(folder / f"{name}.npz") as file:
        arrays = dict(file)
    return Golden(
        module,
        weights.to_ours(drawn, table, shapes_of(module, maps["input.x"])),
        maps["input.x"],
        [maps[f"project.{output}"] for output in arrays],
        weights.paths(drawn, table),
        list(arrays.values()),
        json.loads((folder / f"{name}.json").read_text()),
    )


def run(its, variables, x, *, train):
    """The outputs, and the new batch statistics."""
    y, new = its.module.apply(variables, x, train=train, mutable=["batch_stats"])
    return y if isinstance(y, tuple) else (y,), new["batch_stats"]


@pytest.mark.parametrize("name", CASES)
def test_outputs_equal_the_reference(shared, name):
    its = golden(shared, name)
    outputs, _ = jax.jit(functools.partial(run, its, train=False))(its.variables, its.x)
    for output, expected in zip(outputs, its.outputs, strict=True):
        np.testing.assert_allclose(output, expected, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("name", CASES)
def test_gradients_in_float64_equal_the_reference(shared, name, mode):
    """And, in training, the running statistics after the step."""
    its, expected = golden(shared, name), golden(shared, name).numbers[mode]
    with jax.enable_x64(True):
        double = lambda tree: jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), tree)
        project, variables = double(its.project), double(its.variables)

        def loss(params, x):
            outputs, stats = run(its, {**variables, "params": params}, x, train=mode == "train")
            return sum((y * p).sum() for y, p in zip(outputs, project, strict=True)), stats

        take = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
        (value, stats), (of_params, of_x) = take(variables["params"], double(its.x))
        found = norms({"params": of_params}, its.paths) | {"input.x": np.linalg.norm(of_x)}
        after = norms({"batch_stats": stats}, its.paths)
    assert value == pytest.approx(expected["loss_float64"], rel=1e-9)
    assert found == pytest.approx(expected["grad_norm_float64"], rel=1e-6)  # none is zero
    if mode == "train":
        statistics = expected["bn_running_mean_norm"] | expected["bn_running_var_norm"]
        assert after == pytest.approx(statistics, rel=1e-5)


@pytest.mark.parametrize("name", FAMILY)
def test_every_weight_of_the_family_has_one_place(shared, name):
    folder = shared / "golden" / "yolox" / "manifests"
    manifest = json.loads((folder / f"yolox_{name}.json").read_text())
    theirs = {
        e["name"].removeprefix("backbone."): np.broadcast_to(np.float32(0), e["shape"])
        for e in manifest["entries"]
        if e["name"].startswith("backbone.")
    }
    shapes = shapes_of(BackboneAndNeck(*FAMILY[name]), np.zeros((1, 64, 64, 3)))
    filled = weights.to_ours(theirs, table_of(theirs), shapes)  # refuses what does not fit
    assert jax.tree.map(np.shape, filled) == jax.tree.map(np.shape, shapes)
