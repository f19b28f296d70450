"""From config to values: what can be named, and that a wrong name or type is refused."""

import ast
import functools
import importlib
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from configs import quickstart, ssd300_voc, ssdlite320_mobilenet_v3_coco, yolov2_darknet19_416_voc
from jaxdet import build, choices
from jaxdet.layers import activations, attention, norms
from jaxdet.metrics import coco
from jaxdet.types import Objects


def scale(x: int, *, factor: float, sides: tuple[int, ...] = (), exact: bool = False):
    return x, factor, sides, exact


def finish(x: int, *, norm: type | None = None, activation: type = activations.relu):
    return norm, activation


@pytest.fixture(autouse=True)
def functions_of_this_file(monkeypatch):
    """The key "here" chooses among them."""
    monkeypatch.setitem(choices.CHOICES, "here", __name__)


def defined(file):
    """The names at the top of a file that are not imported."""
    found = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets}
    return found


@pytest.mark.parametrize("key", sorted(choices.CHOICES))
def test_names_are_those_that_a_file_defines_itself(key):
    place = pathlib.Path(importlib.import_module(choices.CHOICES[key]).__file__)
    if key == "metric":
        expected = {file.stem for file in place.parent.glob("*.py") if "MAIN" in defined(file)}
    elif place.name == "__init__.py":
        expected = {file.stem for file in place.parent.glob("*.py") if file.stem in defined(file)}
    else:
        expected = {name for name in defined(place) if re.fullmatch("[a-z][a-z0-9_]*", name)}
    assert choices.names(key) == sorted(expected) != []


@pytest.mark.parametrize(
    ("key", "offered", "withheld"),
    [
        ("optimiser", {"adamw", "sgd"}, {"optax"}),
        ("window", {"expand_and_crop"}, {"pairwise_iou", "eval_window", "Window"}),
        ("activation", {"relu", "hard_swish"}, {"jax", "jnp", "nn"}),
        ("norm", {"batch_norm", "slow_batch_norm"}, {"BatchNorm", "maths", "functools"}),
        ("attention", {"squeeze_excite"}, {"hard_sigmoid", "full", "SqueezeExcite"}),
        ("box_loss", {"smooth_l1", "yolov3"}, {"sigmoid_binary_cross_entropy", "BoxLoss"}),
        ("detector", {"ssd", "classifier"}, {"net", "one_stage"}),
        ("metric", {"voc", "coco"}, {"align", "errors"}),
    ],
)
def test_imports_constants_and_classes_cannot_be_named(key, offered, withheld):
    names = set(choices.names(key))
    assert offered <= names and not withheld & names
    if key in ("optimiser", "window"):
        assert names == offered
    for name in withheld:
        with pytest.raises(ValueError, match=rf"config\.a\.name: there is no '{name}'"):
            choices.choose(key, name, "a")


def test_a_name_is_the_function_and_a_metric_its_file():
    assert choices.choose("activation", "hard_swish", "a") is activations.hard_swish
    assert choices.choose("norm", {"name": "slow_batch_norm"}, "a") is norms.slow_batch_norm
    assert choices.choose("metric", "coco", "a") is coco


@pytest.mark.parametrize("as_block", [dict, ConfigDict])
def test_options_are_bound(as_block):
    block = as_block({"name": "scale", "factor": 2, "sides": [1, 2]})
    assert choices.choose("here", block, "a")(1) == (1, 2, (1, 2), False)


def test_the_same_options_make_the_same_function():
    """So what they are part of, such as a network, compares equal and is compiled once."""
    block = {"name": "batch_norm", "momentum": 0.8}
    first, second = (choices.choose("norm", dict(block), "a") for _ in range(2))
    assert first is second and first().momentum == 0.8
    assert choices.choose("norm", {**block, "momentum": 0.7}, "a") is not first


def test_options_are_names_again():
    norm = {"name": "batch_norm", "epsilon": 0.1}
    block = {"name": "finish", "norm": norm, "activation": "swish"}
    made, activation = choices.choose("here", block, "a")(1)
    assert made().epsilon == 0.1 and activation is activations.swish
    excite = choices.choose("attention", {"name": "squeeze_excite", "activation": "swish"}, "a")
    assert excite() == attention.SqueezeExcite(activation=activations.swish)


@pytest.mark.parametrize("none", ["none", {"name": "none"}, None])
def test_none_is_for_what_may_be_left_out(none):
    assert choices.choose("norm", none, "a", optional=True) is None
    assert choices.choose("here", {"name": "finish", "norm": none}, "a")(1)[0] is None
    options = {"name": "finish", "activation": none}
    with pytest.raises(ValueError, match=r"config\.a\.activation is .*, expected one of .*swish"):
        choices.choose("here", options, "a")
    with pytest.raises(ValueError, match=r"config\.a is .*, expected one of adamw, sgd"):
        choices.choose("optimiser", none, "a")


@pytest.mark.parametrize("key", ["backbone", "neck", "head", "detector"])
def test_a_model_cannot_go_without_its_parts(key):
    config = ssd300_voc.get_config()
    config.model[key] = ConfigDict({"name": "none"})
    with pytest.raises(ValueError, match=rf"config\.model\.{key} is 'none', expected one of"):
        build.recipe(config, ("a",))


def test_lists_become_tuples_at_any_depth():
    assert choices.as_tuples([[1, [2]], 3]) == ((1, (2,)), 3)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (
            {"name": "skale", "factor": 1},
            r"config\.a\.name: there is no 'skale'; did you mean 'scale'",
        ),
        ({"name": "scale", "factr": 1}, r"config\.a: there is no 'factr'; did you mean 'factor'"),
        ({"name": "scale", "factor": "1"}, r"config\.a\.factor is '1', expected float"),
        ({"name": "scale", "factor": True}, r"config\.a\.factor is True, expected float"),
        ({"name": "scale", "factor": 1, "exact": 1}, r"config\.a\.exact is 1, expected bool"),
        ({"name": "scale", "factor": 1, "sides": 3}, r"config\.a\.sides is 3, expected tuple"),
        ({"name": "scale"}, r"config\.a lacks 'factor'"),
        ({"name": "scale", "factor": 1, "x": 2}, r"there is no 'x'"),  # not for the config to give
        ({"factor": 1}, r"config\.a lacks 'name'; expected one of .*scale"),
        ({"name": 3}, r"config\.a is 3, expected one of .*scale"),
        ({"name": "finish", "norm": {"name": "slow"}}, r"config\.a\.norm\.name: there is no 'slow'"),
        (
            {"name": "finish", "norm": {"name": "batch_norm", "momentun": 1.0}},
            r"config\.a\.norm: there is no 'momentun'; did you mean 'momentum'",
        ),
    ],
)
def test_refuses(block, message):
    with pytest.raises(ValueError, match=message):
        choices.choose("here", ConfigDict(block), "a")


def test_what_the_caller_gives_is_not_for_the_config():
    block = {"name": "scale", "factor": 2}
    with pytest.raises(ValueError, match=r"config\.a: there is no 'factor'"):
        choices.choose("here", block, "a", given=["factor"])
    assert choices.choose("here", "scale", "a", given=["factor"])(1, factor=3)[1] == 3


def test_schedules_go_by_name():
    block = ConfigDict({"name": "cosin", "steps": 3, "peak": 1.0})
    with pytest.raises(ValueError, match="did you mean 'cosine'"):
        choices.choose("schedule", block, "schedule")


@pytest.mark.parametrize(
    ("part", "old", "now"),
    [
        ("backbone", "mobilenet_v2_mmdet", "dict(name='mobilenet_v2', norm='slow_batch_norm')"),
        ("neck", "passthrough_darknet", "dict(name='passthrough', reorg='darknet_reorg')"),
        (
            "backbone",
            "mobilenet_v3_torchvision",
            "dict(name='mobilenet_v3', section_6_3=True, squeeze_first=False, "
            "norm='slow_batch_norm')",
        ),
    ],
)
def test_old_names_are_answered_by_their_successors(part, old, now):
    with pytest.raises(ValueError, match=re.escape(f"config.a.name: '{old}' is now {now}")):
        choices.choose(part, old, "a")
    successor = ast.parse(now, mode="eval").body
    block = {keyword.arg: ast.literal_eval(keyword.value) for keyword in successor.keywords}
    assert choices.choose(part, block, "a")


@pytest.mark.parametrize(
    ("block", "old", "now"),
    [
        ("evaluation", "letterbox", "model.letterbox"),
        ("augment", "mixup_alpha", "augment.mix=({'name': 'mixup', 'alpha': 1.5},)"),
        ("augment", "crop_min_ious", "augment.window.crop_min_ious"),
        ("augment", "saturation", "augment.colour.saturation"),
        ("model.backbone", "batch_norm", "model.backbone.norm"),
        ("model.neck", "batch_norm", "model.neck.norm"),
    ],
)
def test_old_keys_are_answered_by_their_successors(block, old, now):
    config = quickstart.get_config()
    functools.reduce(getattr, block.split("."), config)[old] = 1
    message = f"config.{block}: there is no '{old}'; it is now config.{now}"
    with pytest.raises(ValueError, match=re.escape(message)):
        build.recipe(config, ("a",))


EXTRA = dict(name="extra_convs", channels=(8,))


def with_necks(*necks):
    config = quickstart.get_config()
    config.model.size = 64
    config.model.backbone.channels = (8,) * 5
    config.model.neck = necks
    return config


def test_necks_run_in_sequence():
    """Two that add a map each are one that adds two, but for the paths of their parameters."""
    both = build.recipe(with_necks(EXTRA, EXTRA), ("a", "b"))
    config = with_necks()
    config.model.neck = dict(name="extra_convs", channels=(8, 8))
    config.model.detector = both_levels = config.model.detector
    both_levels.update(strides=(8, 16, 32, 64, 128), scales=(0.1, 0.2, 0.4, 0.6, 0.8, 1.0))
    both_levels.ratios = ((2.0,),) * 5
    one = build.recipe(config, ("a", "b"))
    config.model.neck = (EXTRA, EXTRA)
    both = build.recipe(config, ("a", "b"))

    variables = one.detector.init(jax.random.key(0))
    flat = flatten_dict(variables, sep="/")
    to_both = {"neck/down1": "neck/extra_convs/down1", "neck/down2": "neck/extra_convs2/down1"}
    moved = {
        functools.reduce(lambda path, pair: path.replace(*pair), to_both.items(), path): value
        for path, value in flat.items()
    }
    expected = jax.eval_shape(both.detector.init, jax.random.key(0))
    assert {p: x.shape for p, x in moved.items()} == {
        p: x.shape for p, x in flatten_dict(expected, sep="/").items()
    }
