"""Faster R-CNN as its recipes build it against what the PyTorch references compute, stage by stage.

Reference numbers: torchvision 0.28 and chenyuntc/simple-faster-rcnn-pytorch at 367db36 with seeded
random weights and two COCO photos. They are not part of the repository. The parts and the maths
alone are compared in test_golden_rcnn_nets.py and test_golden_rcnn_maths.py.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_configs import CONFIGS
from test_configs import load as load_config
from test_golden_lufficc import gradient_errors
from test_golden_rcnn_maths import SIDE, YX, assert_found, fractions, objects_of
from test_golden_rcnn_nets import LIMITS, TORCHVISION, VGG16, arrays, maker, manifest, numbers

from jaxdet import build
from jaxdet.boxes.iou import pairwise_iou
from jaxdet.convert import chenyuntc, torchvision, weights
from jaxdet.detectors.two_stage import TwoStage
from jaxdet.training.step import divide

RECIPES = {
    "fasterrcnn_resnet50_fpn": "faster_rcnn_resnet50_fpn_coco",
    "fasterrcnn_resnet50_fpn_v2": "faster_rcnn_resnet50_fpn_v2_coco",
    "fasterrcnn_mobilenet_v3_large_320_fpn": "faster_rcnn_mobilenet_v3_320_fpn_coco",
    VGG16: "faster_rcnn_vgg16_voc",
}
RESNET50 = "fasterrcnn_resnet50_fpn"
ASIS = dict(mean=(0.0, 0.0, 0.0), scale=(1.0, 1.0, 1.0))  # the stored inputs are normalised


@dataclasses.dataclass
class Golden:
    """A detector with the reference's weights, and the reference's numbers."""

    detector: TwoStage
    variables: dict[str, Any]
    paths: dict  # their name of a weight -> our path
    arrays: dict[str, np.ndarray]
    numbers: dict[str, Any]


def recipe(name, **settings):
    """What the recipe builds, with all the classes of the reference."""
    (path,) = [path for path in CONFIGS if path.stem == RECIPES[name]]
    config = load_config(path).get_config()
    config.model.update(ASIS)
    config.model.detector.update(settings)
    count = 20 if name == VGG16 else 90
    return build.recipe(config, tuple(f"class {i}" for i in range(count)))


@functools.cache
def golden(shared, name):
    made, described = recipe(name), manifest(shared, name)
    theirs = maker(shared).draw_all(described, described["seed"])
    if name == VGG16:
        source, theirs = chenyuntc, chenyuntc.rearrange(theirs)
    else:
        source, theirs = torchvision, torchvision.rearrange(theirs, unused=())
    table = source.MODELS[made.model]
    shapes = jax.eval_shape(made.detector.init, jax.random.key(0))
    return Golden(
        made.detector,
        weights.to_ours(theirs, table, shapes),
        weights.paths(theirs, table),
        arrays(shared, name),
        numbers(shared, name),
    )


class Found(NamedTuple):
    """What a detector finds, and what its second stage says of given boxes."""

    raw: Any
    proposals: Any
    pooled: jax.Array  # features of the given boxes
    of_given: Any
    detections: Any


@functools.partial(jax.jit, static_argnums=0)
def evaluate(detector, variables, pixels, inside, boxes):
    """`boxes` [B, R, 4] are the given ones."""

    def run(net, pixels):
        pooled = detector.pool(net.maps(pixels), boxes, shape=pixels.shape[1:3])
        return pooled, net.classify(pooled, train=False)

    raw, proposals, _ = detector.stages(variables, pixels, inside)
    given = detector.net.apply(variables, pixels, method=run)
    return Found(raw, proposals, *given, detector.predict(variables, pixels, inside))


def at(tree, i):
    return jax.tree.map(lambda x: np.asarray(x[i]), tree)


def assert_detected(found, boxes, scores, labels):
    """The same number, and of every one the label, an IoU above 0.99, and the score."""
    assert found.valid.sum() == len(boxes)
    found = jax.tree.map(lambda x: x[found.valid], found)
    iou = np.asarray(pairwise_iou(boxes, found.boxes)) * (labels[:, None] == found.labels[None])
    row = iou.argmax(axis=1)
    assert (iou.max(axis=1) > 0.99).all() and len(set(row)) == len(row)
    np.testing.assert_allclose(found.scores[row], scores, atol=1e-3)


# torchvision's, both pictures padded to one input.


@functools.cache
def stored_boxes(shared, name):
    """The boxes given by hand and the reference's proposals, [2, R, 4], padded with zeros."""
    its = arrays(shared, name)
    boxes = [np.concatenate([its["fixed_boxes"][i], its[f"proposals_{i}"]]) for i in range(2)]
    slots = max(map(len, boxes))
    return np.stack([np.pad(b, ((0, slots - len(b)), (0, 0))) for b in boxes]) / np.float32(SIDE)


def image_parts(shared):
    """The part of each input that is image."""
    sizes = arrays(shared, "input")["image_sizes"]
    return np.pad(sizes[:, ::-1], ((0, 0), (2, 0))) / np.float32(SIDE)


@functools.cache
def evaluated(shared, name):
    its, pixels = golden(shared, name), arrays(shared, "input")["input"].astype(np.float32)
    given = image_parts(shared), stored_boxes(shared, name)
    return its, evaluate(its.detector, its.variables, pixels, *given)


@pytest.mark.slow
@pytest.mark.parametrize("name", TORCHVISION)
def test_the_first_stage_is_torchvisions(shared, name):
    its, found = evaluated(shared, name)
    expected, limit = its.arrays, LIMITS[name]
    np.testing.assert_allclose(found.raw.logits[..., 0], expected["objectness"], atol=limit)
    np.testing.assert_allclose(found.raw.boxes, expected["rpn_deltas"], atol=limit)
    for i in range(2):
        regions = at(found.proposals, i)
        assert_found(
            regions.boxes[regions.valid] * SIDE,
            expected[f"proposals_{i}"],
            regions.scores[regions.valid],
            expected[f"proposal_scores_{i}"],
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", TORCHVISION)
def test_the_second_stage_is_torchvisions(shared, name):
    """Of boxes given by hand, first, and of the reference's proposals."""
    its, found = evaluated(shared, name)
    expected, limit = its.arrays, LIMITS[name]
    fixed = expected["fixed_boxes"].shape[1]
    np.testing.assert_allclose(
        found.pooled[:, :fixed, ..., :32], expected["fixed_pooled"], atol=1e-3
    )
    for i in range(2):
        codes, logits = at((found.of_given.boxes, found.of_given.logits), i)
        np.testing.assert_allclose(logits[:fixed], expected["fixed_class_logits"][i], atol=limit)
        deltas = expected["fixed_box_deltas"][i].reshape(fixed, 91, 4)[:, 1:]
        np.testing.assert_allclose(codes[:fixed], deltas, atol=limit)

        stored = expected[f"class_logits_{i}"]
        np.testing.assert_allclose(logits[fixed : fixed + len(stored)], stored, atol=limit)
        rows, deltas = expected[f"box_delta_rows_{i}"], expected[f"box_deltas_{i}"]
        deltas = deltas.reshape(-1, 91, 4)[:, 1:]
        np.testing.assert_allclose(codes[fixed + rows], deltas, atol=limit)


@pytest.mark.slow
@pytest.mark.parametrize("name", TORCHVISION)
def test_detections_are_torchvisions(shared, name):
    its, found = evaluated(shared, name)
    expected = its.arrays
    for i, count in enumerate(expected["det_count"]):
        boxes, scores, labels = (
            expected[f"det_{key}"][i, :count] for key in ("boxes", "scores", "labels")
        )
        assert_detected(at(found.detections, i), boxes / SIDE, scores, labels - 1)
