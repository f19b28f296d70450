"""Dimension priors: the clusters are where they were put, and the command prints them."""

import re
import types
from functools import partial

import cv2
import numpy as np
import pytest
from conftest import run

from jaxdet.anchors import __main__ as command
from jaxdet.anchors import priors
from jaxdet.augment import fit
from jaxdet.data import table
from jaxdet.types import Annotation


def test_shape_iou_by_hand():
    found = priors.shape_iou(np.array([[2.0, 4.0]]), np.array([[2.0, 4.0], [4.0, 2.0], [1.0, 1.0]]))
    np.testing.assert_allclose(found, [[1, 4 / 12, 1 / 8]])


def test_clusters_are_found_where_boxes_gather():
    centres = np.array([[10, 12], [60, 20], [30, 90], [200, 180]], float)
    rng = np.random.default_rng(0)
    sides = np.concatenate([c * rng.uniform(0.95, 1.05, (50, 2)) for c in centres])
    found = priors.cluster(rng.permutation(sides), 4)
    np.testing.assert_allclose(found, centres[np.argsort(centres.prod(1))], rtol=0.02)
    assert priors.mean_iou(sides, found) > 0.93


def test_clusters_beat_random_choices_and_each_more_helps():
    sides = np.random.default_rng(1).lognormal(3, 1, (400, 2))
    scores = [priors.mean_iou(sides, priors.cluster(sides, k)) for k in (1, 3, 5, 9)]
    assert scores == sorted(scores) and scores[0] < 0.5 < scores[-1]
    rng = np.random.default_rng(2)
    chosen = [priors.mean_iou(sides, rng.choice(sides, 5, replace=False)) for _ in range(20)]
    assert scores[2] > max(chosen)


def test_more_priors_than_shapes_are_refused():
    with pytest.raises(
        ValueError, match="3 priors for boxes of 2 different shapes, expected 1 to 2"
    ):
        priors.cluster(np.array([[1.0, 1], [1, 1], [2, 1]]), 3)


def test_sides_are_those_of_the_training_boxes():
    annotation = Annotation(
        id="1",
        height=100,
        width=200,
        boxes=np.array([[0, 0, 0.5, 0.5], [0, 0, 1, 1], [0, 0, 0.25, 1]], np.float32),
        labels=np.zeros(3, np.int32),
        difficult=np.array([False, False, True]),
        crowd=np.array([False, True, False]),
        area=np.ones(3, np.float32),
    )
    dataset = types.SimpleNamespace(table=table.from_annotations([annotation], [0]))
    sides = partial(command.box_sides, dataset, 80)
    assert sides(fit.stretch, keep_difficult=False).tolist() == [[40, 40]]
    assert sides(fit.letterbox, keep_difficult=True).tolist() == [[40, 20], [20, 40]]
    assert sides(fit.shorter_side, keep_difficult=False).tolist() == [[80, 40]]


@pytest.mark.slow
def test_command_prints_priors_and_draws_them(shapes, tmp_path):
    options = ["--config=configs/quickstart.py", f"--config.data.dir={shapes}"]
    said = run(*options, module="jaxdet.anchors", ok=False)
    assert "say how many with --count" in said
    options += ["--count=3", f"--output={tmp_path / 'a.png'}"]
    said = run(*options, module="jaxdet.anchors")
    shapes_of = re.findall(r"\((\d+\.\d), (\d+\.\d)\)", said)
    assert len(shapes_of) == 3 and all(0 < float(x) < 160 for pair in shapes_of for x in pair)
    assert cv2.imread(str(tmp_path / "a.png")).std() > 10
