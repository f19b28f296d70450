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
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from configs import quickstart, ssd300_voc, ssdlite320_mobilenet_v3_coco, yolov2_darknet19_416_voc
from jaxdet import build, choices
from jaxdet.layers import activations, attention, norms
from jaxdet.metrics import coco


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
            names = [name for target in node.targets for name in ast.walk(target)]
            found |= {name.id for name in names if isinstance(name, ast.Name)}
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
        ("window", {"expand_and_crop"}, {"pairwise_iou", "to_image", "Window"}),
        ("activation", {"relu", "hard_swish"}, {"jax", "jnp", "nn"}),
        ("norm", {"batch_norm", "slow_batch_norm"}, {"BatchNorm", "maths", "functools"}),
        ("attention", {"squeeze_excite"}, {"sigmoid", "full", "BatchNorm", "SAM"}),
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
        (
            {"name": "finish", "norm": {"name": "slow"}},
            r"config\.a\.norm\.name: there is no 'slow'",
        ),
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
        ("evaluation", "letterbox", "model.fit, 'letterbox' or 'stretch'"),
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


def necks(block, levels):
    """A small recipe with this neck, which makes so many levels."""
    config = quickstart.get_config()
    config.model.size = 64
    config.model.backbone.channels = (8,) * 5
    del config.model.neck
    config.model.neck = block
    detector = config.model.detector
    detector.strides = tuple(8 * 2**i for i in range(levels))
    detector.scales = tuple(0.1 * (1 + i) for i in range(levels + 1))
    detector.ratios = ((2.0,),) * levels
    return build.recipe(config, ("a", "b"))


def test_necks_run_in_sequence():
    """Two that add a map each are one that adds two, but for the paths of their parameters."""
    one = dict(name="extra_convs", channels=(8,))
    whole = necks(dict(name="extra_convs", channels=(8, 8)), 5).detector
    parts = necks((one, one), 5).detector
    variables = whole.init(jax.random.key(0))
    moved = {
        re.sub("neck/down([12])", lambda m: f"neck/extra_convs{m[1].strip('1')}/down1", path): value
        for path, value in flatten_dict(variables, sep="/").items()
    }
    shapes = flatten_dict(jax.eval_shape(parts.init, jax.random.key(0)), sep="/")
    assert moved.keys() == shapes.keys()
    assert {path.split("/")[2] for path in shapes if path.startswith("params/neck")} == {
        "extra_convs",
        "extra_convs2",
    }
    pixels = jax.random.uniform(jax.random.key(1), (2, 64, 64, 3), maxval=255)
    for ours, theirs in zip(
        jax.jit(parts.forward)(unflatten_dict(moved, sep="/"), pixels),
        jax.jit(whole.forward)(variables, pixels),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_necks_of_a_sequence_differ_by_their_options_and_train():
    """The second sees what the first made; BatchNorms of both follow the batch."""
    first = dict(name="extra_convs", channels=(8,), norm="none")
    second = dict(name="extra_convs", channels=(4,), activation="swish")
    recipe = necks((first, second, "extra_convs"), 5)
    variables = recipe.detector.init(jax.random.key(0))
    params = variables["params"]["neck"]
    assert set(params) == {"extra_convs", "extra_convs2"}  # the last, without maps, has none
    assert set(params["extra_convs"]["down1"]) == {"conv"}
    assert params["extra_convs2"]["down1"]["conv"]["kernel"].shape == (3, 3, 8, 4)
    pixels = jax.random.uniform(jax.random.key(1), (2, 64, 64, 3), maxval=255)
    _, updates = recipe.detector.net.apply(variables, pixels, train=True, mutable=["batch_stats"])
    means = updates["batch_stats"]["neck"]["extra_convs2"]["down1"]["norm"]["mean"]
    assert jnp.abs(means).min() > 0
    assert recipe.model == ("ssd", "extra_convs+extra_convs+extra_convs", "plain")


def test_a_wrong_name_in_a_sequence_is_refused():
    with pytest.raises(ValueError, match=r"config\.model\.neck\.name: there is no 'extra_conv'"):
        necks(("extra_convs", "extra_conv"), 4)


@pytest.mark.parametrize(
    ("config", "model"),
    [
        (ssd300_voc, ("ssd", "vgg_extras", "vgg16")),
        (ssdlite320_mobilenet_v3_coco, ("ssd", "ssdlite_extras", "mobilenet_v3")),
        (yolov2_darknet19_416_voc, ("yolov2", "passthrough", "darknet19")),
    ],
)
def test_importers_know_a_model_by_its_family_neck_and_backbone(config, model):
    recipe = build.recipe(config.get_config(), ("a",))
    assert recipe.model == model
    assert tuple(recipe.parts) == ("backbone", "neck", "head")
    assert recipe.class_parts == ("head",)


NAMES_ALONE = {
    "model.backbone": "vgg16_features",
    "model.neck": "yolov1_convs",
    "model.head": "yolov1",
    "model.detector": "yolov1",
    "optimiser": "sgd",
    "augment.window": "expand_and_crop",
    "augment.colour": "distort",
    "evaluation.nms": "greedy",
}


def recipe_with(values):
    config = ssd300_voc.get_config()
    for key, value in values.items():
        *blocks, last = key.split(".")
        block = functools.reduce(getattr, blocks, config)
        del block[last]
        block[last] = value
    return build.recipe(config, ("a", "b"))


def test_a_block_can_be_its_name_alone():
    blocks = {key: {"name": name} for key, name in NAMES_ALONE.items()}
    alone, within = (recipe_with(values) for values in (NAMES_ALONE, blocks))
    assert alone.model == within.model == ("yolov1", "yolov1_convs", "vgg16_features")
    assert alone.optimiser_name == within.optimiser_name == "sgd"
    assert alone.detector.net == within.detector.net
