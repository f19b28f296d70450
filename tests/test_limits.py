"""Numbers of recipes and of commands are refused where they enter, with key and range."""

import inspect
import math
from types import ModuleType

import pytest

from configs import quickstart, quickstart_faster_rcnn, quickstart_yolov3, ssd300_voc
from jaxdet import build, choices, cli, limits
from jaxdet.engine import setup

NAN, INF = math.nan, math.inf

BAD = [  # each with what is expected
    ("model.size", 0, "at least 1 and at most 8192"),
    ("model.size", 64.5, "int"),
    ("model.mean", (1.0, 2.0), "tuple of 3 float"),
    ("model.mean", (NAN, 0.0, 0.0), "at least 0 and at most 255"),
    ("model.scale", (0.0, 1.0, 1.0), "above 0"),
    ("data.canvas", 0, "at least 1"),
    ("data.canvas", (), "a number of pixels, or several"),
    ("data.canvas", ((0, 3),), "at least 1"),
    ("data.batch_size", 0, "at least 1"),
    ("data.max_objects", 0, "at least 1"),
    ("schedule.steps", -5, "above 0"),
    ("schedule.peak", NAN, "above 0"),
    ("schedule.peak", INF, "above 0"),
    ("schedule.warmup", -1.0, "at least 0"),
    ("schedule.epochs", -1.0, "at least 0"),
    ("schedule.end", 2.0, "at least 0 and at most 1"),
    ("optimiser.weight_decay", NAN, "at least 0"),
    ("optimiser.clip_norm", -1.0, "at least 0"),
    ("step.ema_decay", 1.0, "at least 0 and below 1"),
    ("step.sizes", (-32,), "at least 1"),
    ("step.resize_every", 0, "at least 1"),
    ("step.unfreeze_at", -1, "at least 0"),
    ("evaluation.batch_size", 0, "at least 1"),
    ("evaluation.score_threshold", 30.0, "at least 0 and at most 1"),
    ("evaluation.iou_threshold", -0.1, "at least 0 and at most 1"),
    ("evaluation.max_kept", 0, "at least 1"),
    ("every.checkpoint", -5, "at least 0"),
    ("every.keep", 0, "at least 1"),
    ("every.patience", -1, "at least 0"),
    ("seed", -1, "at least 0"),
    ("log", "csv", "tuple of str"),
    ("augment.window.expand_probability", 2.0, "at least 0 and at most 1"),
    ("augment.window.expand_max", 0.5, "at least 1"),
    ("augment.colour.contrast", (1.5, 0.5), "the lower number first"),
    ("augment.colour.saturation", (0.5,), "tuple of 2 float"),
    ("augment.colour.hue", 400.0, "at least 0 and at most 180"),
    ("model.detector.match_iou", 2.0, "at least 0 and at most 1"),
    ("model.detector.variances", (0.0, 0.2), "above 0"),
    ("model.detector.scales", (0.1, 0.2, 0.4, 0.6, -0.8), "above 0"),
    ("model.detector.ratios", ((0.0,),) * 4, "above 0"),
    ("model.backbone.channels", (0, 8, 8, 8, 8), "at least 1"),
]
LISTS = [  # of which each number is legal, but not the list
    (quickstart, "scales", (0.1, 0.2), "one entry per level in each list"),
    (quickstart, "ratios", ((2.0,),) * 3, "4 maps, but anchors for 3 levels"),
    (quickstart, "strides", (8, 16), "one entry per level in each list"),
    (quickstart_yolov3, "priors", (((1.0, 2.0),),), "3 maps"),
]


def with_value(config, key, value):
    *path, last = key.split(".")
    block = config
    for part in path:
        block = block[part]
    with config.ignore_type():
        block[last] = value
    return config


@pytest.mark.parametrize(("key", "value", "expected"), BAD)
def test_a_number_out_of_range_is_refused_with_its_key(key, value, expected):
    config = with_value(quickstart.get_config(), key, value)
    with pytest.raises(ValueError) as refused:
        setup.check(config)
    said = str(refused.value)
    assert f"config.{key} is " in said and said.endswith(expected) or f"expected {expected}" in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("key", "value"),
    [("optimiser.momentum", 1.5), ("optimiser.momentum", NAN), ("schedule.factor", 0.0)],
)
def test_numbers_of_sgd_and_its_schedule(key, value):
    with pytest.raises(ValueError, match=f"config.{key} is {value}, expected "):
        setup.check(with_value(ssd300_voc.get_config(), key, value))


@pytest.mark.parametrize("number", [(0, 0), (100, 0)])
def test_numbers_of_two_stages(number):
    key = "model.detector.candidates"
    config = with_value(quickstart_faster_rcnn.get_config(), key, number)
    with pytest.raises(ValueError, match="candidates is 0 in .*, expected at least 1"):
        setup.check(config)


@pytest.mark.parametrize(("recipe", "key", "value", "message"), LISTS)
def test_lists_that_do_not_belong_together(recipe, key, value, message):
    config = with_value(recipe.get_config(), f"model.detector.{key}", value)
    with pytest.raises(ValueError, match=f"config.model, with 160x160 pixels: .*{message}"):
        setup.check(config)


def numeric(annotation) -> bool:
    words = ("int", "float")
    return "Callable" not in str(annotation) and (
        annotation in (int, float)
        or any(f"[{word}" in str(annotation) or f"{word} |" in str(annotation) for word in words)
    )


def test_every_number_that_a_recipe_can_set_has_a_range():
    parts = [build.Data, build.Step, build.Evaluation, build.Every]
    for key in choices.CHOICES:
        found = choices._candidates(choices.CHOICES[key]).values()
        parts += [part for part in found if not isinstance(part, ModuleType)]
    names = set()
    for part in parts:
        parameters = inspect.signature(part).parameters
        hidden = {
            "num_classes",
            "num_anchors",
            "level",
            "images",
        }  # no recipe sets them, nor inputs
        hidden |= set() if isinstance(part, type) else choices._inputs(parameters)
        names |= {n for n, p in parameters.items() if numeric(p.annotation) and n not in hidden}
    names.remove("canvas")  # whose range is that of data.canvas
    assert len(names) > 60
    assert {name for name in names if limits.range_of(name) is limits.ANY} == set()


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (cli.share, ["0", "0.3", "1"], ["30", "-0.1", "nan", "inf", "much"]),
        (cli.positive, ["1", "64"], ["0", "-1", "1.5", "many"]),
        (cli.port, ["0", "8000", "65535"], ["-1", "65536", "http"]),
    ],
)
def test_numbers_of_commands(kind, good, bad):
    for text in good:
        assert kind(text) == float(text)
    for text in bad:
        with pytest.raises(cli.argparse.ArgumentTypeError, match=f"'{text}' given, expected "):
            kind(text)
