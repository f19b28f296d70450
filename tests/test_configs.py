"""Every recipe: it builds, it is as large as published, and its file is in order."""

import ast
import dataclasses
import functools
import importlib.util
import json
import pathlib
import re

import jax
import pytest
from ml_collections import ConfigDict

from jaxdet import build, choices, recipes, studies
from jaxdet.engine import setup
from jaxdet.training import parallel, schedules

ROOT = pathlib.Path(__file__).resolve().parents[1]
STUDIES = sorted((ROOT / "configs" / "study").glob("*.py"))
CONFIGS = [path for path in sorted((ROOT / "configs").rglob("*.py")) if path not in STUDIES]
FREEZING = [
    "from_scratch",
    "pretrained",
    "backbone_frozen",
    "detection_layers_only",
    "then_unfrozen",
]
VOC, COCO, SHAPES = 20, 80, 5  # classes
PUBLISHED = {  # classes, parameters, default boxes; lufficc/SSD's and mmdetection's
    "ssd300_voc": (VOC, 26_285_486, 8_732),
    "ssd512_voc": (VOC, 27_188_676, 24_564),
    "mobilenet_v2_ssd320_voc": (VOC, 3_304_708, 3_234),
    "ssd300_voc_modern": (VOC, None, 8_732),
    "ssdlite320_mobilenet_v2_voc_modern": (VOC, None, 3_234),
    "efficientnet_b3_ssd300_voc": (VOC, 12_656_262, 8_732),
    "ssd300_coco": (COCO, 34_305_206, 8_732),
    "ssd512_coco": (COCO, 36_038_196, 24_564),
    "ssd300_coco_mmdet": (COCO, 34_305_206, 8_732),
    "ssd512_coco_mmdet": (COCO, 36_038_196, 24_564),
    "ssd300_coco_torchvision": (90, 35_641_826, 8_732),  # it has COCO's ten unused classes too
    "ssdlite320_mobilenet_v2_coco": (COCO, 4_228_788, 3_234),
    "mobilenet_v3_ssd320_voc": (VOC, 3_860_436, 3_234),
    "pelee_ssd304_voc": (VOC, 5_425_892, 5_142),
    "ssdlite320_mobilenet_v3_coco": (90, 3_440_060, 3_234),  # likewise
    **dict.fromkeys(FREEZING, (VOC, 3_304_708, 3_234)),
    # Of these no number is published but of yolov2-voc.weights, yolov2.weights and yolov3.weights,
    # their statistics in: 50,676,061, 50,983,561 and 62,001,757.
    "yolov1_vgg16_320_voc": (VOC, None, 10 * 10 * 2),
    "yolov2_darknet19_416_voc": (VOC, 50_676_061 - 2 * 10_336, 13 * 13 * 5),
    "yolov2_darknet19_320_voc": (VOC, 50_676_061 - 2 * 10_336, 10 * 10 * 5),
    "darknet19_448_classifier_voc": (VOC, None, 1),
    "yolov2_no_anchors_416_voc": (VOC, None, 13 * 13 * 2),
    "yolov2_resnet50_coco": (COCO, None, 13 * 13 * 5),
    "yolov3_darknet53_416_voc": (VOC, None, (52**2 + 26**2 + 13**2) * 3),
    "yolov3_darknet53_416_coco": (COCO, 62_001_757 - 2 * 26_304, (52**2 + 26**2 + 13**2) * 3),
    "yolov2_darknet19_608_coco": (COCO, 50_983_561 - 2 * 10_336, 19 * 19 * 5),
    # The sizes of Darknet's files, less the means and variances of their BatchNorms.
    "yolov3_tiny_416_coco": (COCO, 8_852_366, (26**2 + 13**2) * 3),
    "yolov3_tiny_416_voc": (VOC, None, (26**2 + 13**2) * 3),
    "yolov3_spp_608_coco": (COCO, 62_998_749, (76**2 + 38**2 + 19**2) * 3),
    "yolov4_608_coco": (COCO, 64_363_101, (76**2 + 38**2 + 19**2) * 3),
    "yolov4_416_voc": (VOC, None, (52**2 + 26**2 + 13**2) * 3),
    "yolov4_tiny_416_coco": (COCO, 6_056_606, (26**2 + 13**2) * 3),
    # Of two stages the background has no boxes here (4 x 1025, in VGG16 4 x 4097), and VGG16 one
    # logit per anchor, not two (9 x 513); RetinaNet's has no class (9 x 2305). Anchors are those of
    # a square input of the recipe's size.
    "faster_rcnn_resnet50_fpn_coco": (90, 41_755_286 - 4 * 1025, 159_882),
    "faster_rcnn_resnet50_fpn_v2_coco": (90, 43_712_278 - 4 * 1025, 159_882),
    "faster_rcnn_mobilenet_v3_320_fpn_coco": (90, 19_386_354 - 4 * 1025, (2 * 10**2 + 5**2) * 15),
    "faster_rcnn_vgg16_voc": (VOC, 137_078_239 - 4 * 4097 - 9 * 513, 37**2 * 9),
    "faster_rcnn_res2net50_voc": (VOC, None, None),
    "faster_rcnn_mobilenet_v2_320_voc": (VOC, None, (20**2 + 10**2 + 5**2) * 6),
    "retinanet_resnet50_fpn_coco": (90, 34_014_999 - 9 * 2305, 120_087),
    "yolox_nano_coco": (COCO, 912_159, 3_549),  # the reference's manifests count them
    "yolox_tiny_coco": (COCO, 5_055_855, 3_549),
    "yolox_s_coco": (COCO, 8_968_255, 8_400),
    "yolox_m_coco": (COCO, 25_326_495, 8_400),
    "yolox_l_coco": (COCO, 54_208_895, 8_400),
    "yolox_x_coco": (COCO, 99_071_455, 8_400),
    "yolox_darknet53_coco": (COCO, 63_724_767, 8_400),
    "yolox_s_voc": (VOC, None, 8_400),
    "quickstart_yolox": (SHAPES, None, 20**2 + 10**2 + 5**2),
    "quickstart_faster_rcnn": (SHAPES, None, None),
    "quickstart": (SHAPES, None, None),
    "quickstart_classifier": (SHAPES, None, 1),
    "quickstart_yolov1": (SHAPES, None, 7 * 7 * 2),
    "quickstart_yolov2": (SHAPES, None, 7 * 7 * 5),
    "quickstart_yolov3": (SHAPES, None, (20**2 + 10**2 + 5**2) * 3),
}

SCHEDULES = {  # steps, boundaries and warm-up in steps
    "darknet19_448_classifier_voc": (2_590, (), 100),
    "efficientnet_b3_ssd300_voc": (160_000, (105_000, 135_000), 500),
    "faster_rcnn_mobilenet_v2_320_voc": (24_800, (16_500, 22_700), 100),
    "faster_rcnn_mobilenet_v3_320_fpn_coco": (190_550, (117_260, 161_240), 1_000),
    "faster_rcnn_res2net50_voc": (24_800, (16_500, 22_700), 1_000),
    "faster_rcnn_resnet50_fpn_coco": (190_550, (117_260, 161_240), 1_000),
    "faster_rcnn_resnet50_fpn_v2_coco": (2_931_600, (2_638_440, 2_785_020), 1_000),
    "faster_rcnn_vgg16_voc": (231_700, (165_500,), 0),
    "backbone_frozen": (120_000, (80_000, 100_000), 500),
    "detection_layers_only": (120_000, (80_000, 100_000), 500),
    "from_scratch": (120_000, (80_000, 100_000), 500),
    "pretrained": (120_000, (80_000, 100_000), 500),
    "then_unfrozen": (120_000, (10_360, 80_000, 100_000), 500),
    "mobilenet_v2_ssd320_voc": (120_000, (80_000, 100_000), 500),
    "mobilenet_v3_ssd320_voc": (120_000, (80_000, 100_000), 500),
    "pelee_ssd304_voc": (120_000, (80_000, 100_000), 500),
    "quickstart": (1_150, (), 50),
    "quickstart_classifier": (1_000, (), 50),
    "quickstart_faster_rcnn": (1_150, (), 50),
    "quickstart_yolov1": (1_400, (), 50),
    "quickstart_yolov2": (1_200, (), 50),
    "quickstart_yolov3": (1_500, (), 50),
    "retinanet_resnet50_fpn_coco": (190_550, (117_260, 161_240), 1_000),
    "ssd300_coco": (400_000, (280_000, 360_000), 500),
    "ssd300_coco_mmdet": (219_888, (146_592, 201_564), 500),
    "ssd300_coco_torchvision": (439_680, (293_120, 403_040), 1_000),
    "ssd300_voc": (120_000, (80_000, 100_000), 500),
    "ssd512_coco": (400_000, (280_000, 360_000), 500),
    "ssd512_coco_mmdet": (219_888, (146_592, 201_564), 500),
    "ssd512_voc": (120_000, (80_000, 100_000), 500),
    "ssdlite320_mobilenet_v2_coco": (366_480, (), 500),
    "ssdlite320_mobilenet_v3_coco": (402_600, (), 610),
    "ssd300_voc_modern": (120_000, (), 500),
    "ssdlite320_mobilenet_v2_voc_modern": (120_000, (), 500),
    "yolov1_vgg16_320_voc": (40_000, (20_000, 30_000), 1_000),
    "yolov2_darknet19_320_voc": (80_200, (40_000, 60_000), 1_000),
    "yolov2_darknet19_416_voc": (80_200, (40_000, 60_000), 1_000),
    "yolov2_darknet19_608_coco": (500_200, (400_000, 450_000), 1_000),
    "yolov2_no_anchors_416_voc": (80_200, (40_000, 60_000), 1_000),
    "yolov2_resnet50_coco": (366_400, (183_200, 274_800), 1_000),
    "yolov3_darknet53_416_coco": (513_000, (), 1_000),
    "yolov3_darknet53_416_voc": (51_800, (), 1_000),
    "yolov3_spp_608_coco": (500_200, (400_000, 450_000), 1_000),
    "yolov3_tiny_416_coco": (500_200, (400_000, 450_000), 1_000),
    "yolov3_tiny_416_voc": (1_200, (), 100),
    "yolov4_416_voc": (51_800, (), 1_000),
    "yolov4_608_coco": (500_500, (400_000, 450_000), 1_000),
    "yolov4_tiny_416_coco": (2_000_200, (1_600_000, 1_800_000), 1_000),
    "quickstart_yolox": (1_000, (), 43),
    "yolox_darknet53_coco": (554_700, (), 9_245),
    "yolox_l_coco": (554_700, (), 9_245),
    "yolox_m_coco": (554_700, (), 9_245),
    "yolox_nano_coco": (554_700, (), 9_245),
    "yolox_s_coco": (554_700, (), 9_245),
    "yolox_tiny_coco": (554_700, (), 9_245),
    "yolox_x_coco": (554_700, (), 9_245),
    "yolox_s_voc": (77_700, (), 259),
}


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def variables(detector):
    return jax.eval_shape(detector.init, jax.random.key(0))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_recipe_builds_and_is_as_large_as_published(path):
    classes, parameters, anchors = PUBLISHED[path.stem]
    config = load(path).get_config()
    recipe = build.recipe(config, tuple(f"class {i}" for i in range(classes)))
    detector = recipe.detector
    count = sum(leaf.size for leaf in jax.tree.leaves(variables(detector)["params"]))
    found = len(detector.anchors_at((detector.size,) * 2).boxes)
    assert count == (parameters or count)
    assert found == (anchors or found)
    assert callable(recipe.optimiser.update) and callable(recipe.view_at(detector.size))
    assert isinstance(hash(detector), int) and path.stem in repr((path.stem, detector))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_recipe_survives_json(path):
    """A checkpoint stores the config as JSON; the detector built from it is the same."""
    config = load(path).get_config()
    again = type(config)(json.loads(config.to_json()))
    same = [build.recipe(each, ("a", "b")).detector.net for each in (config, again)]
    assert same[0] == same[1]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_recipe_is_short_and_says_how_to_run_it_and_what_to_expect(path):
    text = path.read_text()
    tree = ast.parse(text)
    lines = text.splitlines()[tree.body[0].end_lineno :]  # without the docstring
    derived = "from jaxdet.configs" in text
    all_new = {"faster_rcnn_resnet50_fpn_coco", "faster_rcnn_vgg16_voc"}
    limit = (40 if path.stem in all_new else 25) if derived else 60
    assert sum(bool(line.strip()) for line in lines) <= limit
    doc = ast.get_docstring(tree)
    assert f"--config={path.relative_to(ROOT)}" in doc
    assert "measured" in doc.lower()


def test_freezing_recipes_differ_in_freezing_only():
    configs = {path.stem: load(path).get_config() for path in CONFIGS if path.stem in FREEZING}
    frozen = [tuple(configs[name].step.frozen) for name in FREEZING]
    assert frozen == [(), (), ("backbone",), ("backbone", "neck"), ("backbone",)]
    assert [bool(configs[name].init_from) for name in FREEZING] == [False] + [True] * 4
    for config in configs.values():
        config.unlock()
        config.update(purpose="", init_from="")
        config.step.update(frozen=(), unfreeze_at=0)
    last = configs.pop("then_unfrozen")
    assert last.schedule.boundaries == (10_360, 2 / 3, 5 / 6)  # the rate falls as it thaws
    last.schedule.boundaries = (2 / 3, 5 / 6)
    assert all(config.to_dict() == last.to_dict() for config in configs.values())


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_schedules_are_the_published_ones_and_can_be_shortened(path):
    """Shares of the published steps are exactly the published steps; the flags take both."""
    schedule = load(path).get_config().schedule
    now = schedules.all_in_steps(schedule.to_dict())
    boundaries = tuple(now.get("boundaries", ()))
    assert (now["steps"], boundaries, now["warmup"]) == SCHEDULES[path.stem]
    assert schedule.epochs == 0 and isinstance(schedule.epochs, float)
    assert isinstance(schedule.warmup, float)  # an int could not become a share on a command line
    if path.stem != "then_unfrozen":  # which has a boundary where it thaws, a whole number
        for steps in (3, schedule.steps // 2):
            schedule.steps = steps
            build.rate(ConfigDict(dict(schedule=schedule)))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_key_is_known(path):
    config = load(path).get_config()
    build.check_keys(config)
    build.data(config)


@pytest.mark.parametrize(
    ("block", "key", "near"),
    [
        ("data", "bach_size", "config.data: there is no 'bach_size'; did you mean 'batch_size'?"),
        ("evaluation", "score_treshold", "did you mean 'score_threshold'?"),
        ("every", "evalution", "did you mean 'evaluation'?"),
        ("model", "sise", "did you mean 'size'?"),
        ("augment", "colur", "config.augment: there is no 'colur'; did you mean 'colour'?"),
        ("step", "ema_decy", "config.step: there is no 'ema_decy'; did you mean 'ema_decay'?"),
    ],
)
def test_a_misspelt_key_of_a_recipe_is_refused(block, key, near):
    (path,) = [path for path in CONFIGS if path.stem == "quickstart"]
    config = load(path).get_config()
    config[block][key] = 4
    with pytest.raises(ValueError, match=re.escape(near)):
        build.recipe(config, ("a", "b"))
    del config[block][key]
    config.scedule = {}
    with pytest.raises(ValueError, match=r"config: there is no 'scedule'; did you mean 'schedule'"):
        build.recipe(config, ("a", "b"))


CHECKED = set()
EACH_CHANGE = [
    f"{path.relative_to(ROOT)}:{name}"
    for path in STUDIES
    for name in (studies.BASELINE, *studies.read(str(path)).changes)
]


@pytest.mark.parametrize("name", EACH_CHANGE)
def test_a_change_of_a_study_fits_together(name):
    """Its keys are known, its maps have anchors at every size, and a checkpoint can store it."""
    config = recipes.read(name)
    recipe = build.recipe(config, ("a", "b"))
    shapes = recipe.detector.net, recipe.detector.anchors, recipe.detector.size, recipe.step.sizes
    if str(shapes) not in CHECKED:  # losses do not change them
        setup.check_numbers(recipe, parallel.mesh())
        CHECKED.add(str(shapes))
    again = type(config)(json.loads(config.to_json()))
    assert build.recipe(again, ("a", "b")).detector.net == recipe.detector.net
    assert 0 < len(config.purpose) <= 50
    assert config.every.evaluation and config.schedule.steps % config.every.evaluation == 0


def test_the_study_of_parts_has_every_part_that_it_can():
    changes = recipes.namespace("study/shapes")["CHANGES"]
    used = set(re.findall(r"'(\w+)'", str([dict(each.keys) for each in changes.values()])))
    used |= set(re.findall(r"\w+", str(recipes.read("study/shapes"))))
    absent = {key: {*choices.names(key)} - used for key in CHOSEN}
    assert {key: names for key, names in absent.items() if names} == {
        "activation": {"relu"},  # the baseline's
        "box_loss": {"yolov2", "yolov3"},  # of another codec
        "neck": {"vgg_extras_512"},
        "norm": {"frozen_batch_norm"},
    }


CHOSEN = ("backbone", "neck", "box_loss", "class_loss", "activation", "attention", "norm", "mix")
CHOSEN += ("nms",)


OPTIONAL = ("purpose", "log", "nms", "main", "patience", "ema_ramp", "late_losses", "late_from")


@pytest.mark.parametrize("block", ["", "data", "model", "augment", "step", "evaluation", "every"])
def test_a_key_that_is_left_out_is_named(block):
    (path,) = [path for path in CONFIGS if path.stem == "quickstart"]
    of = lambda config: config[block] if block else config
    for key in {*of(load(path).get_config())} - {*OPTIONAL}:  # which can be left out
        config = load(path).get_config()
        config.unlock()
        del of(config)[key]
        with pytest.raises(ValueError, match=rf"config\.?{block} lacks '{key}'"):
            build.recipe(config, ("a", "b"))


def test_known_keys_are_those_of_the_recipes():
    (path,) = [path for path in CONFIGS if path.stem == "ssd300_voc"]
    config = load(path).get_config()
    fields = lambda kind: {field.name for field in dataclasses.fields(kind)}
    assert set(config) == set(build._KEYS.split())
    assert set(config.model) == {*build._MODEL_KEYS, "backbone", "neck", "head"}
    assert set(config.augment) == {"window", "colour", "mix"}
    assert set(config.data) == fields(build.Data)
    assert set(config.step) == fields(build.Step)
    assert {*config.evaluation, "candidates"} == {*fields(build.Evaluation), "nms"}
    assert set(config.every) == fields(build.Every)


def test_a_size_that_the_network_cannot_take_is_said_before_training():
    (path,) = [path for path in CONFIGS if path.stem == "quickstart_yolov2"]
    config = load(path).get_config()
    mesh = parallel.mesh()
    setup.check_numbers(build.recipe(config, ("a", "b")), mesh)
    config.step.sizes = (224, 250)
    with pytest.raises(ValueError, match="multiples of 32"):
        setup.check_numbers(build.recipe(config, ("a", "b")), mesh)
