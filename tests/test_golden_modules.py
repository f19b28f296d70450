"""Necks, attention and activations against what the PyTorch references compute.

Reference numbers: torchvision 0.28, pytorch-YOLOv4 at a65d219, ASFF at 0ff0e33 and CBAM at 459efad
with seeded random weights and inputs. They are not part of the repository.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_golden_yolo_nets import maker

from jaxdet.backbones.cspdarknet53 import CSPStage
from jaxdet.convert import weights
from jaxdet.detectors.net import InSequence
from jaxdet.heads.yolov2 import Prediction
from jaxdet.layers import activations
from jaxdet.layers.attention import cbam, cbam_spatial, sam
from jaxdet.layers.blocks import ConvBlock
from jaxdet.layers.pool import spatial_pyramid_pool
from jaxdet.necks.asff import FusedLevel
from jaxdet.necks.fpn import fpn
from jaxdet.necks.pan import pan
from jaxdet.necks.spp import spp


@dataclasses.dataclass(frozen=True)
class Case:
    """A module of ours, their names of its layers, and how their outputs are found in it."""

    module: nn.Module
    table: dict[str, str]
    inputs: Sequence[str]  # in our order
    read: Callable[[Any, dict], dict[str, jax.Array]]  # from our output and the layers watched
    watched: Sequence[str] = ()


class NeckAndHead(nn.Module):
    """YOLOv4 from its backbone's maps to three maps of 75 channels."""

    @nn.compact
    def __call__(self, maps, *, train):
        maps = InSequence(("spp", "pan"), (spp(), pan()), name="neck")(maps, train=train)
        return [Prediction(75, name=f"level{i}")(x, train=train) for i, x in enumerate(maps)]


def block(theirs, ours, names=("conv", "batch_norm")):
    return {f"{theirs}.{names[0]}": f"{ours}/conv", f"{theirs}.{names[1]}": f"{ours}/norm"}


def asff_case(k):
    """Their level k; theirs count from the coarsest, ours from the finest."""
    table = block("expand", "expand") | {"weight_levels": "shares"}
    for i in range(3):
        table |= block(f"weight_level_{i}", f"share{2 - i}")
    for theirs, i in {0: (("stride", 1), ("stride", 2)), 1: (("compress", 0), ("stride", 2))}.get(
        k, (("compress", 0),)
    ):
        table |= block(f"{theirs}_level_{i}", f"resize{2 - i}")
    shares = lambda seen: jax.nn.softmax(seen["shares"], axis=-1)[..., ::-1]
    read = lambda y, seen: {"out": y, "weights": shares(seen)}
    level = FusedLevel(2 - k, (1024, 512, 256)[k])
    return Case(level, table, ("x2", "x1", "x0"), read, ("shares",))


def fpn_case(extra, names):
    table = {f"inner_blocks.{i}.0": f"lateral{i}/conv" for i in range(3)}
    table |= {f"layer_blocks.{i}.0": f"out{i}/conv" for i in range(3)}
    table |= {f"extra_blocks.{p}": f"{p}/conv" for p in ("p6", "p7") if extra != "pool"}
    read = lambda y, seen: dict(zip(("c3", "c4", "c5", *names), y, strict=True))
    return Case(fpn(24, extra), table, ("c3", "c4", "c5"), read)


def yolov4_case():
    five = lambda name: [f"neck/pan/{name}_{j}" for j in range(1, 6)]
    neck = [f"neck/spp/conv{i}" for i in range(1, 7)]
    for i in (1, 0):
        neck += [f"neck/pan/up{i}", f"neck/pan/lateral{i}", *five(f"topdown{i}")]
    head = ["neck/pan/out0", "level0"]
    for i in (1, 2):
        head += [f"neck/pan/down{i}", *five(f"bottomup{i}"), f"neck/pan/out{i}", f"level{i}"]
    table = {}
    for theirs, layers in (("neck", neck), ("head", head)):
        for number, ours in enumerate(layers, start=1):
            both = block(f"{theirs}.conv{number}.conv", ours, ("0", "1"))
            table |= both if "neck" in ours else {next(iter(both)): f"{ours}/conv"}
    watched = ("topdown0_5", "topdown1_5", "conv6")
    read = lambda y, seen: {
        **{f"raw{i + 3}": x for i, x in enumerate(y)},
        **{f"neck{i + 3}": seen[name] for i, name in enumerate(watched)},
    }
    return Case(NeckAndHead(), table, ("c3", "c4", "c5"), read, watched)


class Stage(nn.Module):
    """A stage of CSPDarknet-53 as the reference cuts it: the first with the stem."""

    number: int

    @nn.compact
    def __call__(self, x, *, train):
        conv = functools.partial(ConvBlock, activation=activations.mish)
        channels = 32 * 2**self.number
        if self.number == 1:
            x = conv(32, 3, name="stem")(x, train=train)
        x = conv(channels, 3, 2, name="down")(x, train=train)
        features = channels // min(self.number, 2)
        return CSPStage(self.number, features, channels // 2, name="stage")(x, train=train)


def stage_case(number):
    parts = ["aside", "enter", "block1/narrow", "block1/widen", "leave", "merge"]
    layers = ["stem", "down", *(f"stage/{part}" for part in parts)]
    theirs = [f"conv{i}" for i in range(1, 9)]
    if number == 2:
        inside = [(i, j) for i in (0, 1) for j in (0, 1)]
        blocks = [f"stage/block{i + 1}/{('narrow', 'widen')[j]}" for i, j in inside]
        layers = ["down", "stage/aside", "stage/enter", *blocks, "stage/leave", "stage/merge"]
        lists = [f"resblock.module_list.{i}.{j}" for i, j in inside]
        theirs = ["conv1", "conv2", "conv3", *lists, "conv4", "conv5"]
    table = {}
    for name, ours in zip(theirs, layers, strict=True):
        table |= block(f"{name}.conv", ours, ("0", "1"))
    return Case(Stage(number), table, ("x",), only)


def only(y, seen):
    return {"out": y}


def function_case(function):
    """A function of a map, without parameters."""
    return Case(nn.Sequential([lambda x, train: function(x)]), {}, ("x",), only)


GATE = {"reduce": "ChannelGate.mlp.1", "expand": "ChannelGate.mlp.3"}
CASES = {
    **{f"asff_{k}": asff_case(k) for k in range(3)},
    "fpn_pool": fpn_case("pool", ("pool",)),
    "fpn_p6p7": fpn_case("p6p7_of_c5", ("p6", "p7")),
    "fpn_p6p7_own": fpn_case("p6p7_of_p5", ("p6", "p7")),
    "yolov4_stage1": stage_case(1),
    "yolov4_stage2": stage_case(2),
    "yolov4_neck_head": yolov4_case(),
    "sam_pointwise": Case(sam(), {"conv": "gate/conv", "norm": "gate/norm"}, ("x",), only),
    "cbam_spatial": Case(cbam_spatial(), block("spatial", "gate", ("conv", "bn")), ("x",), only),
    "cbam": Case(
        cbam(hidden=4),
        {theirs: ours for ours, theirs in GATE.items()}
        | block("SpatialGate.spatial", "spatial/gate", ("conv", "bn")),
        ("x",),
        only,
    ),
    "spp": function_case(functools.partial(spatial_pyramid_pool, input_first=False)),
    "sppf": function_case(functools.partial(spatial_pyramid_pool, input_first=True)),
    "maxout": function_case(functools.partial(activations.maxout, pieces=3)),
}
TRAINED = [name for name in CASES if not name.startswith(("fpn", "spp", "maxout"))]


@dataclasses.dataclass
class Golden:
    """A case with the reference's weights and inputs, and the reference's numbers."""

    case: Case
    variables: dict[str, Any]
    inputs: tuple[np.ndarray, ...]
    project: dict[str, np.ndarray]  # the loss is the sum of the outputs times these
    paths: dict[str, tuple[str, ...]]
    arrays: dict[str, np.ndarray]
    numbers: dict[str, Any]


@functools.cache
def golden(shared, name):
    make, folder, case = maker(shared), shared / "golden" / "modules", CASES[name]
    manifest = json.loads((folder / "manifests" / f"{name}.json").read_text())
    drawn = make.draw_all(manifest, manifest["seed"])
    given = [name for name in drawn if name.startswith(("input.", "project."))]
    maps = {name: drawn.pop(name).transpose(0, 2, 3, 1) for name in given}
    inputs = tuple(maps[f"input.{n}"] for n in case.inputs)
    if "weight_levels.weight" in drawn:  # our levels are in the other order
        kernel = drawn["weight_levels.weight"].reshape(3, 3, 16)
        drawn["weight_levels.weight"] = kernel[::-1, ::-1].reshape(3, 48, 1, 1)
        drawn["weight_levels.bias"] = drawn["weight_levels.bias"][::-1]
    x = inputs if len(inputs) > 1 else inputs[0]
    shapes = jax.eval_shape(functools.partial(case.module.init, train=False), jax.random.key(0), x)
    variables = weights.to_ours(drawn, case.table, shapes) if drawn else {}
    with np.load(folder / f"{name}.npz") as file:
        arrays = dict(file)
    return Golden(
        case,
        variables,
        inputs,
        {n.removeprefix("project."): x for n, x in maps.items() if n.startswith("project.")},
        weights.paths(drawn, case.table),
        arrays,
        json.loads((folder / f"{name}.json").read_text()),
    )


def run(case, variables, inputs, *, train):
    """The outputs by their names, and the new batch statistics."""
    y, new = case.module.apply(
        variables,
        inputs if len(inputs) > 1 else inputs[0],
        train=train,
        mutable=["batch_stats", "intermediates"],
        capture_intermediates=lambda module, method: module.name in case.watched,
    )
    flat = jax.tree_util.tree_leaves_with_path(new.get("intermediates", {}))
    seen = {path[-3].key: leaf for path, leaf in flat}
    return case.read(y, seen), new.get("batch_stats", {})


@pytest.mark.parametrize("name", CASES)
def test_outputs_equal_the_reference(shared, name):
    its = golden(shared, name)
    outputs, _ = jax.jit(functools.partial(run, its.case, train=False))(its.variables, its.inputs)
    assert outputs.keys() == its.arrays.keys() == its.project.keys()
    for output, expected in its.arrays.items():
        every = outputs[output].shape[-1] // expected.shape[-1]  # of some every fourth is stored
        np.testing.assert_allclose(outputs[output][..., ::every], expected, atol=1e-4)


def in_float64(its, *, train):
    """The loss, the norms of its gradient by their names, and the new batch statistics."""
    double = lambda tree: jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), tree)
    project = double(its.project)
    variables = double(its.variables)

    def loss(params, inputs):
        now = {**variables, "params": params}
        outputs, stats = run(its.case, now, inputs, train=train)
        return sum((outputs[n] * project[n]).sum() for n in project), stats

    take = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    (value, stats), (of_params, of_inputs) = jax.jit(take)(
        variables.get("params", {}), double(its.inputs)
    )
    gradient = weights.to_theirs({"params": of_params}, its.paths)
    names = [f"input.{n}" for n in its.case.inputs]
    gradient |= dict(zip(names, of_inputs, strict=True))
    assert all(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves((value, gradient)))
    return float(value), {n: float(np.linalg.norm(x)) for n, x in gradient.items()}, stats


def check_gradient(its, mode, value, norms):
    expected = its.numbers[mode]
    assert value == pytest.approx(expected["loss_float64"], rel=1e-9)
    largest = max(expected["grad_norm_float64"].values())
    assert norms.keys() == expected["grad_norm_float64"].keys()
    for name, norm in expected["grad_norm_float64"].items():
        if norm > 1e-6 * largest:  # else a BatchNorm takes away the parameter's effect
            assert norms[name] == pytest.approx(norm, rel=1e-6), name


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_gradients_in_float64_equal_the_reference(shared, name):
    its = golden(shared, name)
    with jax.enable_x64(True):
        value, norms, _ = in_float64(its, train=False)
    check_gradient(its, "eval", value, norms)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_training_in_float64_equals_the_reference(shared, name):
    """Also the running statistics after the step."""
    its = golden(shared, name)
    with jax.enable_x64(True):
        value, norms, stats = in_float64(its, train=True)
    check_gradient(its, "train", value, norms)
    after = weights.to_theirs({"batch_stats": stats}, its.paths)
    numbers = its.numbers["train"]
    expected = numbers["bn_running_mean_norm"] | numbers["bn_running_var_norm"]
    assert after.keys() == expected.keys()
    for statistic, norm in expected.items():
        assert np.linalg.norm(after[statistic]) == pytest.approx(norm, rel=1e-5), statistic


ACTIVATIONS = {
    "mish": activations.mish,
    "swish": activations.swish,
    "hard_swish": activations.hard_swish,
    "hard_sigmoid": activations.hard_sigmoid,
    "gelu": activations.gelu,
    "gelu_tanh": functools.partial(activations.gelu, approximate=True),
    "leaky": activations.leaky_relu,
    "relu6": activations.relu6,
    "sigmoid": activations.sigmoid,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_activations_and_their_slopes(shared, name, dtype):
    """The reference's slope of hard_sigmoid, a sixth, is itself rounded to float32."""
    with np.load(shared / "golden" / "modules" / "activations.npz") as file:
        x, value, slope = file["x"], file[name], file[f"{name}_slope"]
    with jax.enable_x64(True):
        both = jax.vmap(jax.value_and_grad(ACTIVATIONS[name]))(jnp.asarray(x, dtype))
    exact = 4e-6 if dtype == jnp.float32 else 1e-8 if name == "hard_sigmoid" else 1e-13
    np.testing.assert_allclose(both[0], value, atol=exact, rtol=exact)
    np.testing.assert_allclose(both[1], slope, atol=exact, rtol=exact)
