"""TIDE's error kinds on pictures made by hand, one for each kind, with costs worked out by hand."""

import numpy as np
import pytest

from jaxdet import types
from jaxdet.metrics import errors, voc

CLASSES = ("a", "b", "c")
FIRST, SECOND, THIRD = (0, 0, 20, 20), (40, 0, 60, 20), (70, 0, 90, 20)
HALF_SECOND = (40, 10, 60, 30)  # IoU 200 / 600 with SECOND
NOWHERE = (40, 60, 60, 80)


def truth(*objects, name="1", difficult=(), crowd=()):
    """An annotation of objects (label, box) in a picture of 100 x 100."""
    boxes = np.array([box for _, box in objects], np.float32).reshape(-1, 4)
    flags = [np.isin(np.arange(len(boxes)), which) for which in (difficult, crowd)]
    labels = np.array([label for label, _ in objects], np.int32)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return types.Annotation(name, 100, 100, boxes / 100, labels, *flags, area)


def found(*detections):
    """Detections (label, score, box), which need not be sorted."""
    labels, scores, boxes = zip(*detections, strict=True) if detections else ((), (), ())
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    return types.ImageDetections(boxes, np.array(scores, np.float32), np.array(labels, np.int32))


# kind: objects, detections, the kind of each detection, mAP, what every kind costs (0 if not said)
CASES = {
    # Of two objects one is found (AP 0.5); the other would be if it were called a: AP 1.
    "classification": (
        truth((0, FIRST), (0, SECOND)),
        found((0, 0.9, FIRST), (1, 0.8, SECOND)),
        ["right", "classification"],
        0.5,
        {"classification": 0.5},
    ),
    "localisation": (
        truth((0, FIRST), (0, SECOND)),
        found((0, 0.9, FIRST), (0, 0.8, HALF_SECOND)),
        ["right", "localisation"],
        0.5,
        {"localisation": 0.5},
    ),
    # Class b has its object after the error: AP 1/2, without it 1. Class a misses one of two.
    "both": (
        truth((0, FIRST), (0, SECOND), (1, THIRD)),
        found((0, 0.9, FIRST), (1, 0.8, HALF_SECOND), (1, 0.7, THIRD)),
        ["right", "both", "right"],
        0.5,
        {"both": 0.25, "missed": 0.25},
    ),
    # Precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1: AP 1/2 + 1/2 * 2/3.
    "duplicate": (
        truth((0, FIRST), (0, SECOND)),
        found((0, 0.9, FIRST), (0, 0.8, (0, 1, 20, 20)), (0, 0.7, SECOND)),
        ["right", "duplicate", "right"],
        5 / 6,
        {"duplicate": 1 / 6},
    ),
    # Precision 0, 1/2, 2/3 at recall 0, 1/2, 1: AP 2/3.
    "background": (
        truth((0, FIRST), (0, SECOND)),
        found((0, 0.95, NOWHERE), (0, 0.9, FIRST), (0, 0.7, SECOND)),
        ["background", "right", "right"],
        2 / 3,
        {"background": 1 / 3},
    ),
    "missed": (
        truth((0, FIRST), (0, SECOND)),
        found((0, 0.9, FIRST)),
        ["right"],
        0.5,
        {"missed": 0.5},
    ),
}


@pytest.mark.parametrize("kind", CASES)
def test_one_error_of_each_kind(kind):
    annotation, detections, kinds, mean, costs = CASES[kind]
    result = errors.evaluate({"1": detections}, [annotation], CLASSES)
    assert errors.classify(detections, annotation).kinds.tolist() == kinds
    assert result["mAP"] == pytest.approx(mean)
    expected = dict.fromkeys(errors.KINDS, 0.0) | costs
    assert result["costs"] == pytest.approx(expected, abs=1e-9)
    assert result["counts"] == dict.fromkeys(errors.KINDS, 0) | dict.fromkeys(costs, 1)


def test_every_kind_has_a_case():
    assert set(CASES) == set(errors.KINDS)


def test_only_the_best_of_two_is_corrected_and_the_other_is_removed():
    annotation = truth((0, FIRST), (0, SECOND))
    detections = found((0, 0.6, HALF_SECOND), (0, 0.9, FIRST), (0, 0.8, HALF_SECOND))
    verdict = errors.classify(detections, annotation)
    corrected = errors.correct("localisation", detections, annotation, verdict)
    np.testing.assert_allclose(corrected.scores, [0.9, 0.8])
    np.testing.assert_allclose(corrected.boxes, [FIRST, SECOND], rtol=1e-6)


def test_a_detection_of_an_already_detected_object_is_not_corrected():
    annotation = truth((0, SECOND))
    detections = found((0, 0.9, HALF_SECOND), (0, 0.8, SECOND), (1, 0.7, SECOND))
    verdict = errors.classify(detections, annotation)
    assert verdict.kinds.tolist() == ["localisation", "right", "classification"]
    for kind in ("localisation", "classification"):
        corrected = errors.correct(kind, detections, annotation, verdict)
        assert corrected.labels.tolist() == [
            label for label, k in zip((0, 0, 1), verdict.kinds, strict=True) if k != kind
        ]


def test_order_of_the_kinds_is_that_of_the_authors():
    # Badly placed on its own class, and well on another: localisation comes first.
    annotation = truth((0, SECOND), (1, HALF_SECOND))
    assert errors.classify(found((0, 0.9, HALF_SECOND)), annotation).kinds[0] == "localisation"
    # A second detection of a found object that also lies on another class: classification.
    annotation = truth((0, SECOND), (1, SECOND))
    detections = found((0, 0.9, SECOND), (0, 0.8, SECOND))
    assert errors.classify(detections, annotation).kinds.tolist() == ["right", "classification"]


def test_thresholds():
    annotation = truth((0, (0, 0, 25, 25)))  # a quarter of the picture is exact in float32
    kind = lambda label, height: errors.classify(
        found((label, 0.9, (0, 0, 25, height))), annotation
    ).kinds[0]
    assert kind(0, 12.5) == "right"  # IoU 0.5
    assert kind(1, 12.5) == "classification"
    assert kind(0, 12.4) == "localisation" and kind(1, 12.4) == "both"
    assert kind(0, 2.6) == "localisation" and kind(1, 2.6) == "both"  # IoU 0.104
    assert kind(0, 2.4) == "background" and kind(1, 2.4) == "background"  # 0.096


def test_difficult_objects_count_for_nothing():
    annotation = truth((0, FIRST), (0, SECOND), (1, THIRD), difficult=[1, 2])
    detections = found((0, 0.9, SECOND), (0, 0.8, FIRST), (1, 0.7, SECOND))
    verdict = errors.classify(detections, annotation)
    assert verdict.kinds.tolist() == ["ignored", "right", "background"]
    assert not verdict.missed.any()


def test_all_is_lost_by_missing_where_nothing_is_found():
    result = errors.evaluate({}, [truth((0, FIRST), (1, SECOND))], CLASSES)
    assert result["costs"]["missed"] == 1.0 and result["counts"]["missed"] == 2
    assert sum(result["costs"].values()) == 1.0


def test_crowds_take_detections_with_them_but_right_ones():
    annotation = truth((0, FIRST), (0, (0, 0, 60, 60)), crowd=[1])
    inside, far, other = (20, 20, 40, 40), NOWHERE, (20, 20, 40, 40)
    detections = found((0, 0.9, FIRST), (0, 0.8, inside), (0, 0.7, far), (1, 0.6, other))
    kept, single = errors.without_crowds(detections, annotation)
    np.testing.assert_allclose(kept.scores, [0.9, 0.7, 0.6])
    assert single.labels.tolist() == [0] and not single.crowd.any()


def test_right_ones_are_those_of_the_average_precision():
    annotations, detections = zip(*(crowded(seed) for seed in range(12)), strict=True)
    kinds = [errors.classify(*pair).kinds for pair in zip(detections, annotations, strict=True)]
    numbers = voc.evaluate(
        {a.id: d for a, d in zip(annotations, detections, strict=True)}, annotations, CLASSES
    )["classes"]
    for label, name in enumerate(CLASSES):
        mine = np.concatenate(
            [k[d.labels == label] for k, d in zip(kinds, detections, strict=True)]
        )
        assert (mine == errors.RIGHT).sum() == numbers[name]["right"] > 0
    assert set(np.concatenate(kinds)) == {*errors.KINDS, "right", "ignored"} - {"missed"}


def crowded(seed):
    """A picture of overlapping objects, some difficult, and detections on and beside them."""
    rng = np.random.default_rng(seed)
    corner, side = rng.uniform(0, 70, (8, 2)), rng.uniform(10, 30, (8, 2))
    boxes, labels = np.concatenate([corner, corner + side], axis=1), rng.integers(0, 3, 8)
    objects = zip(labels, boxes, strict=True)
    moved = np.concatenate([boxes] * 5) + rng.normal(0, 4, (40, 4))
    moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
    called = np.where(rng.random(40) < 0.7, np.tile(labels, 5), rng.integers(0, 3, 40))
    detections = zip(called, rng.random(40), moved, strict=True)
    return truth(*objects, name=str(seed), difficult=[0, 5]), found(*detections)
