"""The converter's command: weights by the reference's names become a checkpoint of ours."""

import json
import runpy

import jax
import numpy as np
import pytest
import safetensors.numpy
from conftest import ROOT, run
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

import jaxdet
from jaxdet import build
from jaxdet.convert import lufficc, weights
from jaxdet.data.voc import CLASSES

CONVERT = dict(module="jaxdet.convert")
RECIPE = "configs/mobilenet_v2_ssd320_voc.py"
LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}


def theirs_of(variables, table):
    """Variables under their names: what the reference would have saved."""
    where = {}
    for path in flatten_dict(variables):
        module = "/".join(path[1:-1])
        names = [name for name, ours in table.items() if ours == module]
        leaf = LEAVES.get(path[-1], path[-1])
        where |= {f"{name}.{leaf}": path for name in names[:1]}
    assert len(where) == len(flatten_dict(variables))
    return {n: np.ascontiguousarray(x) for n, x in weights.to_theirs(variables, where).items()}


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Random weights of SSDLite320 for VOC: (a file by the reference's names, our variables)."""
    config = ConfigDict(runpy.run_path(str(ROOT / RECIPE))["get_config"]())
    variables = build.recipe(config, CLASSES).detector.init(jax.random.key(7))
    table = lufficc.MODELS["ssd", "mobilenet_extras", "mobilenet_v2"]
    file = tmp_path_factory.mktemp("weights") / "theirs.safetensors"
    safetensors.numpy.save_file(theirs_of(variables, table), file)
    return file, variables


def convert(file, workdir, *more, recipe=RECIPE, **options):
    place = [f"--config={recipe}", f"--weights={file}", f"--workdir={workdir}"]
    return run("--source=lufficc", *place, *more, **CONVERT, **options)


@pytest.fixture(scope="module")
def converted(given, tmp_path_factory):
    file, _ = given
    workdir = tmp_path_factory.mktemp("converted") / "run"
    said = convert(file, workdir)
    assert "3,304,708 parameters" in said and f"{workdir}/checkpoints/0" in said
    assert f"--weights={file}" in json.loads((workdir / "origin.json").read_text())["flags"]
    return workdir


@pytest.mark.slow
def test_load_has_every_array_the_names_and_the_preprocessing(given, converted):
    detector = jaxdet.load(converted)
    assert detector.classes == CLASSES
    assert detector.detector.net.mean == (123.0, 117.0, 104.0)
    jax.tree.map(np.testing.assert_array_equal, detector.variables, given[1])


@pytest.mark.slow
def test_refuses_what_does_not_fit_and_writes_nothing(given, converted, tmp_path):
    theirs = safetensors.numpy.load_file(given[0])
    gone = theirs.pop("backbone.features.0.0.weight")
    theirs["backbone.features.1.conv.1.weight"] = gone
    file = tmp_path / "broken.safetensors"
    safetensors.numpy.save_file(theirs, file)
    said = convert(file, tmp_path / "run", ok=False)
    assert "missing: params/backbone/stem/conv/kernel" in said
    assert "backbone.features.1.conv.1.weight has shape (3, 3, 3, 32), but" in said
    assert "Traceback" not in said and not (tmp_path / "run").exists()
    said = convert(given[0], tmp_path / "run", recipe="configs/quickstart.py", ok=False)
    assert "there is no 'ssd + extra_convs + plain'" in said and not (tmp_path / "run").exists()
    assert "already has checkpoints" in convert(given[0], converted, ok=False)


@pytest.mark.slow
def test_other_classes_keep_all_but_the_last_layers_and_training_goes_on_from_there(
    given, converted, shapes, tmp_path
):
    """Five classes of shapes instead of VOC's twenty: from the file, and from the workdir."""
    data = ["--config.data.train=shapes_train", "--config.data.eval=shapes_val"]
    data += [f"--config.data.dir={shapes}"]
    said = convert(given[0], tmp_path / "five", *data)
    logits = [f"params/head/logits{i}" for i in range(6)]
    assert all(f"{name}/" in said for name in logits) and "boxes" not in said
    detector = jaxdet.load(tmp_path / "five")
    assert len(detector.classes) == 5
    old, new = given[1]["params"], detector.variables["params"]
    jax.tree.map(np.testing.assert_array_equal, old["backbone"], new["backbone"])
    assert new["head"]["logits5"]["kernel"].shape[-1] == 6 * 6

    train = [f"--config={RECIPE}", *data, "--until=0"]
    said = run(*train, f"--workdir={tmp_path / 'five'}", ok=False)
    assert "holds converted weights" in said  # there is no optimiser to resume with
    said = run(*train, f"--workdir={tmp_path / 'fine'}", f"--config.init_from={converted}")
    assert f"weights from {converted}; fresh: class disc, class ring, class square" in said
