"""The maths against what the public reference (lufficc/SSD) computed for the same numbers.

The arrays are not part of the repository; without them these tests are skipped.
"""

import functools
import json
import pathlib

import jax
import numpy as np
import pytest

from jaxdet.boxes import anchors, codecs, matching, nms
from jaxdet.losses import mining, multibox
from jaxdet.types import Anchors, Objects, Raw

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "shared" / "golden" / "lufficc"
pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="the reference arrays are not beside this checkout"
)

PRIORS = {
    "ssd300": {
        "grids": (38, 19, 10, 5, 3, 1),
        "size": 300,
        "strides": (8, 16, 32, 64, 100, 300),
        "min_sizes": (30, 60, 111, 162, 213, 264),
        "max_sizes": (60, 111, 162, 213, 264, 315),
        "ratios": ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,)),
    },
    "ssd320": {
        "grids": (20, 10, 5, 3, 2, 1),
        "size": 320,
        "strides": (16, 32, 64, 107, 160, 320),
        "min_sizes": (60, 105, 150, 195, 240, 285),
        "max_sizes": (105, 150, 195, 240, 285, 330),
        "ratios": ((2, 3),) * 6,
    },
    "ssd512": {
        "grids": (64, 32, 16, 8, 4, 2, 1),
        "size": 512,
        "strides": (8, 16, 32, 64, 128, 256, 512),
        "min_sizes": (35.84, 76.8, 153.6, 230.4, 307.2, 384.0, 460.8),
        "max_sizes": (76.8, 153.6, 230.4, 307.2, 384.0, 460.8, 537.65),
        "ratios": ((2,), (2, 3), (2, 3), (2, 3), (2, 3), (2,), (2,)),
    },
}
MODELS = {"vgg_ssd300_voc0712": "ssd300", "mobilenet_v2_ssd320_voc0712": "ssd320"}


def make_anchors(name):
    settings = dict(PRIORS[name])
    grids = tuple((n, n) for n in settings.pop("grids"))
    return anchors.default_boxes(grids, **settings)


def pad(boxes, labels, count=32):
    """The truth of one image as Objects [count]; the reference's labels start with 1."""
    free = (0, count - len(boxes))
    return Objects(
        boxes=np.pad(boxes, (free, (0, 0))),
        labels=np.pad(labels.astype(np.int32) - 1, free),
        mask=np.arange(count) < len(boxes),
        weight=np.ones(count, np.float32),
    )


def load(name):
    with np.load(FOLDER / f"{name}.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("name", PRIORS)
def test_priors(name):
    made = make_anchors(name)
    np.testing.assert_allclose(made.boxes, load(f"matching_{name}")["priors"], atol=1e-6)


@pytest.mark.parametrize("name", PRIORS)
def test_matching_of_crowded_images(name):
    golden = load(f"matching_{name}")
    stored = Anchors(boxes=golden["priors"], cell=golden["priors"])
    match = jax.jit(lambda objects: matching.match(stored, objects))
    for i in range(len(golden["image_files"])):
        truth, labels = golden[f"gt_boxes_{i}"], golden[f"gt_labels_{i}"]
        targets = match(pad(truth, labels, 64))
        positive = np.flatnonzero(targets.positive)
        # A tie that rounding decides otherwise moves one positive: two differences.
        ties = int((golden[f"best_prior_margin_{i}"] <= 1e-5).sum())
        differences = np.setxor1d(positive, golden[f"positive_{i}"])
        assert len(differences) <= 2 * ties
        clear = golden[f"best_prior_margin_{i}"] > 1e-5
        assert np.isin(golden[f"best_prior_{i}"][clear], positive).all()
        common, ours, theirs = np.intersect1d(
            positive, golden[f"positive_{i}"], return_indices=True
        )
        np.testing.assert_array_equal(
            targets.labels[common] + 1, golden[f"positive_labels_{i}"][theirs]
        )
        codes = codecs.encode_from_anchor(targets.boxes, stored)[common]
        np.testing.assert_allclose(codes, golden[f"positive_locations_{i}"][theirs], atol=1e-4)


def objects_of(golden):
    images = [pad(golden[f"gt_boxes_{i}"], golden[f"gt_labels_{i}"]) for i in range(2)]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *images)


@pytest.mark.parametrize("name", MODELS)
def test_targets_negatives_and_loss(name):
    golden = load(name)
    stored = Anchors(boxes=golden["priors"], cell=golden["priors"])
    objects = objects_of(golden)
    targets = jax.jit(jax.vmap(functools.partial(matching.match, stored)))(objects)
    labels = np.where(targets.positive, targets.labels + 1, 0)
    np.testing.assert_array_equal(labels, golden["target_labels"])
    codes = codecs.encode_from_anchor(targets.boxes, stored)
    np.testing.assert_allclose(codes, golden["target_locations"], atol=1e-4)

    background = jax.nn.logsumexp(golden["cls_logits"], axis=-1) - golden["cls_logits"][..., 0]
    negative = jax.vmap(mining.hard_negatives)(background, targets.positive, targets.ignore)
    np.testing.assert_array_equal(negative, golden["eval_negative_mask"])

    raw = Raw(boxes=golden["bbox_pred"], logits=golden["cls_logits"])
    expected = json.loads((FOLDER / f"{name}.json").read_text())["loss_eval"]
    losses = functools.partial(multibox.multibox, codec=codecs.from_anchor())
    found = jax.jit(losses)(raw, targets, objects, stored)
    np.testing.assert_allclose(found["box"][0] / found["box"][1], expected["reg"], rtol=1e-5)
    np.testing.assert_allclose(found["class"][0] / found["class"][1], expected["cls"], rtol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_detections(name):
    golden = load(name)
    size = PRIORS[MODELS[name]]["size"]
    stored = Anchors(boxes=golden["priors"], cell=golden["priors"])

    def detect(logits, codes):
        return nms.greedy(
            codecs.decode_from_anchor(codes, stored),
            jax.nn.softmax(logits)[:, 1:],
            score_threshold=0.01,
            iou_threshold=0.45,
            max_kept=100,
        )

    found = jax.jit(jax.vmap(detect))(golden["cls_logits"], golden["bbox_pred"])
    np.testing.assert_array_equal(found.valid.sum(1), golden["det_count"])
    np.testing.assert_array_equal(found.labels + 1, golden["det_labels"])
    np.testing.assert_allclose(found.scores, golden["det_scores"], atol=1e-5)
    sides = golden["det_boxes"][..., 2:] - golden["det_boxes"][..., :2]
    error = np.abs(found.boxes * size - golden["det_boxes"])
    assert (error <= 0.01 + 1e-4 * np.tile(sides, 2)).all()
