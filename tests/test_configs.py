"""Every recipe: it builds, it is as large as published, and its file is in order."""

import ast
import importlib.util
import json
import pathlib

import jax
import pytest

from jaxdet import build, run

CONFIGS = sorted((pathlib.Path(__file__).resolve().parents[1] / "configs").glob("*.py"))
VOC, COCO, SHAPES = 20, 80, 5  # classes
PUBLISHED = {  # classes, parameters, default boxes; lufficc/SSD's and mmdetection's
    "ssd300_voc": (VOC, 26_285_486, 8_732),
    "ssd512_voc": (VOC, 27_188_676, 24_564),
    "mobilenet_v2_ssd320_voc": (VOC, 3_304_708, 3_234),
    "ssd300_coco": (COCO, 34_305_206, 8_732),
    "ssd512_coco": (COCO, 36_038_196, 24_564),
    "quickstart": (SHAPES, None, None),
}


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_recipe_builds_and_is_as_large_as_published(path):
    classes, parameters, anchors = PUBLISHED[path.stem]
    config = load(path).get_config()
    detector = build.detector(config, tuple(f"class {i}" for i in range(classes)))
    shapes = jax.eval_shape(detector.init, jax.random.key(0))
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))
    found = len(detector.anchors_at(detector.size).boxes)
    assert count == (parameters or count)
    assert found == (anchors or found)
    run.optimiser(config, shapes["params"])  # refuses keys that do not exist
    run.train_view(config)
    assert isinstance(hash(detector), int) and path.stem in repr((path.stem, detector))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_recipe_survives_json(path):
    """A checkpoint stores the config as JSON; the detector built from it is the same."""
    config = load(path).get_config()
    again = type(config)(json.loads(config.to_json()))
    same = [build.detector(each, ("a", "b")).net for each in (config, again)]
    assert same[0] == same[1]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_recipe_is_short_and_says_how_to_run_it_and_what_to_expect(path):
    text = path.read_text()
    derived = "import ssd" in text or "from configs" in text
    assert text.count("\n") <= (40 if derived else 70)
    doc = ast.get_docstring(ast.parse(text))
    assert f"--config=configs/{path.name}" in doc
    assert "measured" in doc.lower()
