"""YOLOv4, YOLOv4-tiny, YOLOv3-SPP and YOLOv3-tiny, from Darknet's files to its detections.

Reference numbers: Tianxiaomo/pytorch-YOLOv4 at a65d219 and AlexeyAB/darknet at 59596d7 with seeded
random weights and two COCO photos. They are not part of the repository; without them these tests
are skipped.
"""

import dataclasses
import functools
import json
import pathlib
import tempfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from test_configs import load
from test_golden_yolo_layer import objects_of
from test_golden_yolo_nets import maker

from jaxdet import build
from jaxdet.convert import darknet, weights

COCO = tuple(f"class {i}" for i in range(80))
NETS = {  # name -> recipe, file of the input, maps from fine to coarse, levels in Darknet's order
    "yolov4_320": ("yolov4_608_coco", "yolov4_320", (40, 20, 10), (40, 20, 10)),
    "yolov3_spp_320": ("yolov3_spp_608_coco", "yolov4_320", (40, 20, 10), (10, 20, 40)),
    "yolov4_tiny_352": ("yolov4_tiny_416_coco", "yolov4_tiny_352", (22, 11), (11, 22)),
    "yolov3_tiny_352": ("yolov3_tiny_416_coco", "yolov4_tiny_352", (22, 11), (11, 22)),
}
name_test = pytest.mark.parametrize("name", NETS)


@dataclasses.dataclass
class Golden:
    """A detector with the reference's weights, and the reference's numbers."""

    recipe: build.Recipe
    variables: dict[str, Any]
    arrays: dict[str, np.ndarray]
    numbers: dict[str, Any]
    names: dict[str, tuple[str, ...]]  # their name of an array -> our path

    @property
    def pixels(self):
        return np.asarray(self.arrays["input"], np.float32)


def detector_at(name):
    """The recipe with the size, and the limits of detection, of the stored numbers."""
    recipe, _, _, order = NETS[name]
    config = load(pathlib.Path("configs") / f"{recipe}.py").get_config()
    config.model.size = int(name.rpartition("_")[2])
    config.evaluation.update(score_threshold=0.25, iou_threshold=0.45, max_kept=500)
    return build.recipe(config, COCO)


@functools.cache
def golden(shared, name):
    make, given = maker(shared), shared / "golden" / "yolov4"
    model, recipe = name.rpartition("_")[0], detector_at(name)
    manifest = json.loads((given / "manifests" / f"{model}.json").read_text())
    theirs = make.draw_all(manifest, manifest["seed"])
    shapes = jax.eval_shape(recipe.detector.init, jax.random.key(0))
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, f"{model}.weights")
        make.write_darknet(file, manifest, theirs)
        entries = weights.entries(file, darknet, recipe.model, shapes)
    variables, fresh = weights.fill(entries, shapes)
    assert not fresh and len(entries) == len(theirs)
    names = dict(
        zip([e["name"] for e in manifest["entries"]], [e[1] for e in entries], strict=True)
    )
    with np.load(given / f"{name}.npz") as file:
        arrays = dict(file)
    with np.load(given / f"{NETS[name][1]}.npz") as file:
        arrays["input"] = file["input"]
    numbers = json.loads((given / f"{name}.json").read_text())
    return Golden(recipe, variables, arrays, numbers, names)


@functools.cache
def forward(shared, name):
    """Raw predictions, boxes and scores of both photos, from one compiled program."""
    known = golden(shared, name)
    detector = known.recipe.detector
    anchors = detector.anchors_at((detector.size,) * 2)

    def run(variables, pixels):
        raw = detector.net.apply(variables, pixels, train=False)
        return raw, detector.decode(raw, anchors)

    return jax.device_get(jax.jit(run)(known.variables, known.pixels))


def in_their_order(name, ours):
    """[B, A, ...] of ours, fine to coarse with the anchor last, in the order of the cfg."""
    _, _, maps, order = NETS[name]
    ends = np.cumsum([3 * n * n for n in maps])[:-1]
    levels = dict(zip(maps, np.split(ours, ends, axis=1), strict=True))
    turn = lambda x, n: x.reshape(len(x), n * n, 3, *x.shape[2:]).swapaxes(1, 2)
    turned = [turn(levels[n], n).reshape(levels[n].shape) for n in order]
    return np.concatenate(turned, axis=1)


@pytest.mark.slow
@name_test
def test_maps_before_decoding(shared, name):
    raw, _ = forward(shared, name)
    fields = np.concatenate([raw.boxes, raw.objectness[..., None], raw.logits], axis=-1)
    maps, arrays = NETS[name][2], golden(shared, name).arrays
    ends = np.cumsum([3 * n * n for n in maps])[:-1]
    for n, level in zip(maps, np.split(fields, ends, axis=1), strict=True):
        stored = arrays[f"raw_{n}"]
        level = level.reshape(2, n, n, 255)[: len(stored)]
        if stored.shape[1] < n:  # rows and columns 0, 4, ...
            level = level[:, ::4, ::4]
        np.testing.assert_allclose(level, stored, atol=1e-3)


@pytest.mark.slow
@name_test
def test_boxes_and_scores(shared, name):
    _, (boxes, scores) = forward(shared, name)
    arrays = golden(shared, name).arrays
    boxes, scores = in_their_order(name, boxes), in_their_order(name, scores)
    expected = arrays["boxes"]
    sides = np.tile(expected[..., 2:] - expected[..., :2], 2)
    error = np.abs(boxes[: len(expected)] - expected)
    assert (error <= 1e-3 * sides + 1e-3).all()
    scores = scores[: len(expected)]  # of YOLOv3-SPP only the first photo is stored
    np.testing.assert_allclose(scores.max(-1), arrays["max_conf"], atol=1e-4)
    assert (scores.argmax(-1) == arrays["max_id"]).mean() > 0.999  # ties in float32


@pytest.mark.slow
@name_test
def test_detections_by_darknets_rule(shared, name):
    known = golden(shared, name)
    found = jax.device_get(jax.jit(jax.vmap(known.recipe.detector.nms))(*forward(shared, name)[1]))
    for i, count in enumerate(known.arrays["det_darknet_count"]):
        assert found.valid[i].sum() == count
        expected = known.arrays["det_darknet"][i, :count]
        left = set(range(count))
        for box, score, label in zip(found.boxes[i], found.scores[i], found.labels[i], strict=True):
            if score == 0:
                break
            near = [
                j
                for j in left
                if expected[j, 5] == label
                and abs(expected[j, 4] - score) < 1e-4
                and np.abs(expected[j, :4] - box).max() < 2e-3
            ]
            assert near, (i, box, score, label)
            left.remove(near[0])
        assert not left


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NETS if "tiny" in name])
def test_a_step_without_the_box_loss_in_float64(shared, name):
    """Objectness and classes are cross entropies, whose gradient Darknet computes exactly.

    The reference divides its pixels by 255 in float32, before float64 begins. The large
    networks agree, too (YOLOv4 to 1e-13), but take two minutes each; their blocks are compared in
    float64 in test_golden_modules.
    """
    known = golden(shared, name)
    detector, numbers = known.recipe.detector, known.numbers["train"]["no_box"]
    objects = objects_of(known.arrays)
    with jax.enable_x64(True):
        net = detector.net.clone(dtype=jnp.float64, scale=(1.0, 1.0, 1.0))
        detector = dataclasses.replace(detector, net=net)
        variables = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), known.variables)
        given = jax.tree.map(jnp.asarray, objects)

        def total(params):
            losses, _ = detector.loss(
                {**variables, "params": params},
                known.pixels / np.float32(255),
                given,
                key=jax.random.key(0),
            )
            return losses["objectness"][0] + losses["class"][0]

        gradients = flatten_dict(jax.device_get(jax.jit(jax.grad(total))(variables["params"])))
    norms = {
        name: np.linalg.norm(gradients[path[1:]])
        for name, path in known.names.items()
        if path[0] == "params"
    }
    expected = numbers["grad_norm_float64"]
    largest = max(expected.values())
    errors = {n: abs(norms[n] / e - 1) for n, e in expected.items() if e > 1e-6 * largest}
    assert len(errors) > 0.9 * len(expected)
    assert max(errors.values()) < 1e-6, {n: e for n, e in errors.items() if e >= 1e-6}
