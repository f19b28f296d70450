"""SSD300-VGG16 and SSDLite320-MobileNetV2 against what the PyTorch reference computes.

Reference numbers: lufficc/SSD at 68dc0a2 with seeded random weights and two COCO photos.
"""

import importlib.util
import json

import jax
import numpy as np
import pytest

from jaxdet.backbones.mobilenet_v2 import mobilenet_v2
from jaxdet.backbones.vgg16 import vgg16
from jaxdet.convert import lufficc, weights
from jaxdet.detectors.net import Net
from jaxdet.heads.ssd import ssd
from jaxdet.heads.ssdlite import ssdlite
from jaxdet.necks.mobilenet_extras import mobilenet_extras
from jaxdet.necks.vgg_extras import vgg_extras

MEAN = (123.0, 117.0, 104.0)
PIXELS = dict(mean=MEAN, scale=(1.0, 1.0, 1.0))
MODELS = {
    "vgg_ssd300_voc0712": (
        Net(vgg16(), vgg_extras(), ssd(20, (4, 6, 6, 6, 4, 4)), **PIXELS),
        lufficc.vgg16,
    ),
    "mobilenet_v2_ssd320_voc0712": (
        Net(mobilenet_v2(), mobilenet_extras(), ssdlite(20, (6,) * 6), **PIXELS),
        lufficc.mobilenet_v2,
    ),
}


def load(shared, name):
    """Their weights by name, our variables, pixels in 0..255, stored arrays and numbers."""
    folder = shared / "golden"
    spec = importlib.util.spec_from_file_location("make_weights", folder / "make_weights.py")
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    manifest = json.loads((folder / "lufficc" / "manifests" / f"{name}.json").read_text())
    theirs = maker.draw_all(manifest, manifest["seed"])
    arrays = np.load(folder / "lufficc" / f"{name}.npz")
    pixels = arrays["input"] + np.array(MEAN, np.float32)
    net, table = MODELS[name]
    shapes = jax.eval_shape(lambda x: net.init(jax.random.key(0), x, train=False), pixels)
    numbers = json.loads((folder / "lufficc" / f"{name}.json").read_text())
    return theirs, weights.to_ours(theirs, table, shapes), pixels, arrays, numbers


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_raw_predictions_equal_the_reference(shared, name):
    _, variables, pixels, arrays, numbers = load(shared, name)
    net, _ = MODELS[name]
    raw = jax.jit(lambda v, x: net.apply(v, x, train=False))(variables, pixels)
    np.testing.assert_allclose(raw.logits, arrays["cls_logits"], atol=1e-3)
    np.testing.assert_allclose(raw.boxes, arrays["bbox_pred"], atol=1e-3)
    maps = jax.jit(lambda v, x: net.apply(v, x, method="maps"))(variables, pixels)
    for found, expected in zip(maps, numbers["features"], strict=True):
        assert list(found.shape[1:]) == expected["shape_hwc"]
        assert np.std(found, ddof=1) == pytest.approx(expected["std"], rel=1e-4)


@pytest.mark.slow
def test_running_statistics_equal_the_reference(shared):
    name = "mobilenet_v2_ssd320_voc0712"
    theirs, variables, pixels, _, numbers = load(shared, name)
    net, table = MODELS[name]
    run = lambda v, x: net.apply(v, x, train=True, mutable=["batch_stats"])
    _, updates = jax.jit(run)(variables, pixels)
    found = weights.to_theirs(updates, weights.paths(theirs, table))
    expected = numbers["bn_running_mean_norm"] | numbers["bn_running_var_norm"]
    assert set(found) == set(expected)
    for statistic, norm in expected.items():
        assert np.linalg.norm(found[statistic]) == pytest.approx(norm, rel=1e-3), statistic
