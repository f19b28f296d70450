"""The YOLO networks against what the PyTorch references compute, from the same weights.

Reference numbers: yjh0410/PyTorch_YOLOv2 at f42b545 and eriklindernoren/PyTorch-YOLOv3 at 1d621c8
with seeded random weights and two COCO photos. They are not part of the repository.
"""

import dataclasses
import functools
import importlib.util
import json
import pathlib
import tempfile
from typing import Any

import jax
import numpy as np
import pytest
import safetensors.numpy

from jaxdet.backbones.darknet19 import darknet19
from jaxdet.backbones.darknet53 import darknet53
from jaxdet.convert import darknet, weights, yjh0410
from jaxdet.detectors.net import Net
from jaxdet.heads.yolov2 import yolov2
from jaxdet.heads.yolov3 import yolov3
from jaxdet.necks.passthrough import passthrough, space_to_depth
from jaxdet.necks.yolo_fpn import yolo_fpn

ASIS = dict(mean=(0.0, 0.0, 0.0), scale=(1.0, 1.0, 1.0))  # the stored inputs are normalised
MODELS = {  # by which importers know them
    "yolov2": ("yolov2", "passthrough", "darknet19"),
    "yolov3": ("yolov3", "yolo_fpn", "darknet53"),
}
NETS = {
    "yolov2": Net(darknet19(), passthrough(), yolov2(20, (5,)), **ASIS),
    "yolov3": Net(darknet53(), yolo_fpn(), yolov3(80, (3, 3, 3)), **ASIS),
}


@dataclasses.dataclass
class Golden:
    """A network with the reference's weights, and the reference's numbers."""

    net: Net
    variables: dict[str, Any]
    theirs: dict[str, np.ndarray]
    arrays: dict[str, np.ndarray]
    numbers: dict[str, Any]


def maker(shared):
    spec = importlib.util.spec_from_file_location("make", shared / "golden" / "make_weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def golden(shared, name):
    """What is known of "yolov2" or "yolov3"; YOLOv3's weights go through a Darknet file."""
    make, given = maker(shared), shared / "golden" / name
    manifest = json.loads((given / "manifest.json").read_text())
    theirs, net = make.draw_all(manifest, manifest["seed"]), NETS[name]
    shapes = jax.eval_shape(
        functools.partial(net.init, train=False), jax.random.key(0), np.zeros((1, 64, 64, 3))
    )
    with tempfile.TemporaryDirectory() as folder:
        if name == "yolov3":
            file, source = pathlib.Path(folder, "yolov3.weights"), darknet
            make.write_darknet(file, manifest, theirs)
        else:
            file, source = pathlib.Path(folder, "yolov2.safetensors"), yjh0410
            safetensors.numpy.save_file(theirs, file)
        entries = weights.entries(file, source, MODELS[name], shapes)
    variables, fresh = weights.fill(entries, shapes)
    assert not fresh
    with np.load(given / f"{name}_416.npz") as file:
        arrays = dict(file)
    numbers = json.loads((given / f"{name}_416.json").read_text())
    return Golden(net, variables, theirs, arrays, numbers)


@pytest.mark.slow
def test_yolov3_from_a_darknet_file(shared):
    known = golden(shared, "yolov3")
    raw = jax.jit(functools.partial(known.net.apply, train=False))(
        known.variables, known.arrays["input"]
    )
    maps = [known.arrays[f"raw_{side}"] for side in (52, 26, 13)]
    expected = np.concatenate([x.reshape(2, -1, 85) for x in maps], axis=1)  # finest level first
    np.testing.assert_allclose(raw.boxes, expected[..., :4], atol=1e-3)
    np.testing.assert_allclose(raw.objectness, expected[..., 4], atol=1e-3)
    np.testing.assert_allclose(raw.logits, expected[..., 5:], atol=1e-3)


@pytest.mark.slow
def test_yolov2_and_its_passthrough(shared):
    known = golden(shared, "yolov2")
    narrowed = lambda module, method: module.name == "space_to_depth"
    raw, seen = jax.jit(
        functools.partial(
            known.net.apply, train=False, capture_intermediates=narrowed, mutable=["intermediates"]
        )
    )(known.variables, known.arrays["input"])
    expected = known.arrays["prediction"].reshape(2, 169, 125)  # objectness, classes, boxes of all
    objectness, classes, boxes = np.split(expected, (5, 105), axis=-1)
    np.testing.assert_allclose(raw.objectness, objectness.reshape(2, 845), atol=1e-3)
    np.testing.assert_allclose(raw.logits, classes.reshape(2, 845, 20), atol=1e-3)
    np.testing.assert_allclose(raw.boxes, boxes.reshape(2, 845, 4), atol=1e-3)
    (fine,) = seen["intermediates"]["neck"]["space_to_depth"]["__call__"]
    cells = space_to_depth(fine)[:, (0, 6), (0, 3)]
    np.testing.assert_allclose(cells, known.arrays["reorg_check"], atol=1e-3)


@pytest.mark.slow
def test_yolov2_statistics_after_a_step(shared):
    """Theirs have the bias of the convolution in the mean, ours do not."""
    known = golden(shared, "yolov2")
    _, updates = jax.jit(functools.partial(known.net.apply, train=True, mutable=["batch_stats"]))(
        known.variables, known.arrays["input"]
    )
    where = weights.paths(yjh0410.rearrange(known.theirs), yjh0410.MODELS[MODELS["yolov2"]])
    after = weights.to_theirs(updates, where)
    assert len(after) == 2 * 22
    for name, array in after.items():
        layer, kind = name.rsplit(".1.", 1)
        if kind == "running_mean":
            array = array + known.theirs.get(f"{layer}.0.bias", 0)
        norm = np.linalg.norm(array)
        assert norm == pytest.approx(known.numbers[f"bn_{kind}_norm"][name], rel=1e-3), name
