"""Faster R-CNN as its recipes build it against what the PyTorch references compute, stage by stage.

Reference numbers: torchvision 0.28 and chenyuntc/simple-faster-rcnn-pytorch at 367db36 with seeded
random weights and two COCO photos. They are not part of the repository. The parts and the maths
alone are compared in test_golden_rcnn_nets.py and test_golden_rcnn_maths.py, training in
test_golden_rcnn_training.py.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from test_configs import CONFIGS
from test_configs import load as load_config
from test_golden_rcnn_maths import SIDE, YX, assert_found, fractions
from test_golden_rcnn_nets import LIMITS, TORCHVISION, VGG16, arrays, maker, manifest, numbers

from jaxdet import backend, build
from jaxdet.boxes.iou import pairwise_iou
from jaxdet.convert import chenyuntc, torchvision, weights
from jaxdet.detectors import two_stage
from jaxdet.detectors.two_stage import Regions, TwoStage
from jaxdet.types import Detections, Raw

RECIPES = {
    "fasterrcnn_resnet50_fpn": "faster_rcnn_resnet50_fpn_coco",
    "fasterrcnn_resnet50_fpn_v2": "faster_rcnn_resnet50_fpn_v2_coco",
    "fasterrcnn_mobilenet_v3_large_320_fpn": "faster_rcnn_mobilenet_v3_320_fpn_coco",
    VGG16: "faster_rcnn_vgg16_voc",
}
FIXED = 8  # boxes of an image that are given by hand
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
    """What a detector finds on its own, and from given regions."""

    raw: Raw
    proposals: Regions
    detections: Detections
    pooled: jax.Array  # features of the given regions
    of_given: Raw
    detections_of_given: Detections


@functools.partial(jax.jit, static_argnums=0)
def evaluate(detector, variables, pixels, inside, given):
    def run(net, pixels):
        pooled = detector.pool(net.maps(pixels), given.boxes, shape=shape)
        return pooled, net.classify(pooled, train=False)

    shape = pixels.shape[1:3]
    raw, proposals, _ = detector.stages(variables, pixels, inside)
    found = detector.predict(variables, pixels, inside)
    pooled, of_given = detector.net.apply(variables, pixels, method=run)
    decoded = detector.detections(given, of_given, shape, inside)
    return Found(raw, proposals, found, pooled, of_given, backend.per_image(detector.nms, *decoded))


def at(tree, i):
    return jax.tree.map(lambda x: np.asarray(x[i]), tree)


def assert_detected(found, boxes, scores, labels, *, share=1.0, limit=1e-3):
    """The same number, and of this share the label, an IoU above 0.99, and the score."""
    assert found.valid.sum() == len(boxes)
    found = jax.tree.map(lambda x: x[found.valid], found)
    iou = np.asarray(pairwise_iou(boxes, found.boxes)) * (labels[:, None] == found.labels[None])
    row, same = iou.argmax(axis=1), iou.max(axis=1) > 0.99
    assert same.mean() >= share and len(set(row[same])) == same.sum()
    np.testing.assert_allclose(found.scores[row[same]], scores[same], atol=limit)


# Regions from maps that differ by rounding differ by up to 0.01 pixels, which is enough to move
# scores by 1e-3, and one across the limit of 100 detections.
ON_ITS_OWN = dict(share=0.99, limit=3e-3)


# torchvision's, both pictures padded to one input.


@pytest.mark.parametrize("name", TORCHVISION)
def test_settings_are_torchvisions(shared, name):
    """Those of proposals and draws in training, too."""
    its, settings = recipe(name).detector, numbers(shared, name)["settings"]
    rpn, roi = settings["rpn"], settings["roi"]
    assert its.anchors.keywords == dict(
        sizes=tuple(map(tuple, settings["anchor_sizes"])),
        ratios=tuple(settings["aspect_ratios"][0]),
    )
    for propose, phase in zip(its.propose, ("training", "testing"), strict=True):
        assert propose.keywords == dict(
            before=rpn["pre_nms_top_n"][phase],
            after=rpn["post_nms_top_n"][phase],
            iou_threshold=rpn["nms"],
            score_threshold=rpn["score"],
            min_side=rpn["min_size"],
            small_first=False,
        )
    for stage, expected in ((its.first, rpn), (its.second, roi)):
        found = dict(keep_best=False, inside_only=False) | stage.assign.keywords
        assert found == dict(
            positive_iou=expected["foreground_iou"],
            negative_iou=expected["background_iou"],
            keep_best=expected["low_quality_matches"],
            inside_only=False,
        )
        drawn = dict(count=expected["batch"], share=expected["positive_fraction"])
        assert stage.draw.keywords == drawn
        x, _, w, _ = expected["code_weights"]
        decode = stage.codec.decode.keywords
        assert decode["variances"] == (1 / x, 1 / w)
        assert decode["largest_log_ratio"] == rpn["code_clip"]
    assert its.regions_drawn == roi["batch"]
    assert roi["min_size"] == two_stage.SMALLEST_SIDE
    limits = dict(score_threshold=roi["score"], iou_threshold=roi["nms"])
    assert its.nms.keywords == limits | dict(max_kept=roi["detections"])


def stored_regions(its):
    """The boxes given by hand, of which nothing is detected, and the reference's proposals."""
    boxes = [np.concatenate([its["fixed_boxes"][i], its[f"proposals_{i}"]]) for i in range(2)]
    slots = max(map(len, boxes))
    number = np.arange(slots)
    valid = np.stack([(number >= FIXED) & (number < len(b)) for b in boxes])
    boxes = np.stack([np.pad(b, ((0, slots - len(b)), (0, 0))) for b in boxes])
    return Regions(boxes / np.float32(SIDE), valid.astype(np.float32), valid)


def image_parts(shared):
    """The part of each input that is image."""
    sizes = arrays(shared, "input")["image_sizes"]
    return np.pad(sizes[:, ::-1], ((0, 0), (2, 0))) / np.float32(SIDE)


@functools.cache
def evaluated(shared, name):
    its, pixels = golden(shared, name), arrays(shared, "input")["input"].astype(np.float32)
    given = image_parts(shared), stored_regions(its.arrays)
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
    np.testing.assert_allclose(
        found.pooled[:, :FIXED, ..., :32], expected["fixed_pooled"], atol=1e-3
    )
    for i in range(2):
        codes, logits = at((found.of_given.boxes, found.of_given.logits), i)
        np.testing.assert_allclose(logits[:FIXED], expected["fixed_class_logits"][i], atol=limit)
        deltas = expected["fixed_box_deltas"][i].reshape(FIXED, 91, 4)[:, 1:]
        np.testing.assert_allclose(codes[:FIXED], deltas, atol=limit)

        stored = expected[f"class_logits_{i}"]
        np.testing.assert_allclose(logits[FIXED : FIXED + len(stored)], stored, atol=limit)
        rows, deltas = expected[f"box_delta_rows_{i}"], expected[f"box_deltas_{i}"]
        deltas = deltas.reshape(-1, 91, 4)[:, 1:]
        np.testing.assert_allclose(codes[FIXED + rows], deltas, atol=limit)


@pytest.mark.slow
@pytest.mark.parametrize("name", TORCHVISION)
def test_detections_are_torchvisions(shared, name):
    its, found = evaluated(shared, name)
    for i, count in enumerate(its.arrays["det_count"]):
        boxes, scores, labels = (
            its.arrays[f"det_{key}"][i, :count] for key in ("boxes", "scores", "labels")
        )
        expected = boxes / SIDE, scores, labels - 1
        assert_detected(at(found.detections_of_given, i), *expected)
        assert_detected(at(found.detections, i), *expected, **ON_ITS_OWN)


# VGG16: every picture alone, without padding; all of the reference's boxes are y1 x1 y2 x2.


def vgg16(shared, i):
    """The detector for picture i, what is known of it, its pixels and its shape.

    The shortest side of a proposal is 16 pixels of the photo.
    """
    its = golden(shared, VGG16)
    known = its.numbers["pictures"][i]
    height, width = shape = tuple(known["size_hw"])
    pixels = arrays(shared, "input")["input"][i : i + 1, :height, :width].astype(np.float32)
    return recipe(VGG16, proposal_side=16 * known["scale"]).detector, known, pixels, shape


@pytest.mark.slow
@pytest.mark.parametrize("i", [0, 1])
def test_vgg16_is_chenyuntcs(shared, i):
    its = golden(shared, VGG16)
    detector, known, pixels, shape = vgg16(shared, i)
    expected = {
        key.removesuffix(f"_{i}"): x for key, x in its.arrays.items() if key.endswith(f"_{i}")
    }
    rois = fractions(expected["rois"], shape)[None]
    given = Regions(rois, np.ones(rois.shape[:2], np.float32), np.ones(rois.shape[:2], bool))
    found = at(evaluate(detector, its.variables, pixels, None, given), 0)

    scores = expected["rpn_scores"]
    np.testing.assert_allclose(found.raw.logits[:, 0], scores[:, 1] - scores[:, 0], atol=1e-3)
    np.testing.assert_allclose(found.raw.boxes, expected["rpn_locs"][:, YX], atol=1e-3)
    proposals = found.proposals.boxes[found.proposals.valid] * np.tile(shape[::-1], 2)
    assert_found(proposals, expected["rois"][:, YX])
    np.testing.assert_allclose(found.of_given.logits, expected["roi_scores"], atol=1e-3)
    locs = expected["roi_locs"].reshape(-1, 21, 4)[:, 1:, YX]
    np.testing.assert_allclose(found.of_given.boxes, locs, atol=1e-3)

    # The reference takes one scale for both axes, and clips to the photo, half a pixel further.
    end = np.minimum(shape, known["scale"] * np.array(known["original_size_hw"]))
    boxes = np.minimum(expected["det_boxes"] * np.float32(known["scale"]), np.tile(end, 2))
    detected = fractions(boxes, shape), expected["det_scores"], expected["det_labels"]
    limit = fractions(np.tile(end, 2)[None], shape)
    for ours, how in ((found.detections_of_given, {}), (found.detections, ON_ITS_OWN)):
        assert_detected(ours.replace(boxes=np.minimum(ours.boxes, limit)), *detected, **how)
