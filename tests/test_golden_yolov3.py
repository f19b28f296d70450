"""YOLOv3's decoding against what a public implementation (eriklindernoren) computed.

The arrays are not part of the repository; without them these tests are skipped. What the network
itself computes is compared in test_golden_yolo_nets.py.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdet.augment import fit
from jaxdet.boxes import nms
from jaxdet.detectors.yolov3 import yolov3
from jaxdet.types import Raw

SIZE, GRIDS, CLASSES = 416, (52, 26, 13), 80
PRIORS = (
    ((10.0, 13.0), (16.0, 30.0), (33.0, 23.0)),
    ((30.0, 61.0), (62.0, 45.0), (59.0, 119.0)),
    ((116.0, 90.0), (156.0, 198.0), (373.0, 326.0)),
)


@pytest.fixture(scope="module")
def golden(shared):
    with np.load(shared / "golden" / "yolov3" / "yolov3_416.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def detector():
    limits = dict(score_threshold=0.5, iou_threshold=0.4, max_kept=300)
    return yolov3(
        lambda counts: counts,
        size=SIZE,
        classes=tuple(f"class {i}" for i in range(CLASSES)),
        fit=fit.stretch,
        nms=functools.partial(nms.greedy, **limits),
        priors=PRIORS,
    )


@pytest.fixture(scope="module")
def decoded(golden, detector):
    fields = [golden[f"raw_{n}"].reshape(2, n * n * 3, 5 + CLASSES) for n in GRIDS]
    fields = jnp.asarray(np.concatenate(fields, axis=1))
    raw = Raw(boxes=fields[..., :4], logits=fields[..., 5:], objectness=fields[..., 4])
    anchors = detector.anchors(tuple((n, n) for n in GRIDS), (SIZE, SIZE))
    return jax.jit(detector.decode)(raw, anchors)


def ours(stored):
    """Their order (coarse to fine; anchor, row, column) as ours (fine to coarse; anchor last)."""
    ends = np.cumsum([3 * n * n for n in GRIDS[::-1]])[:-1]
    levels = np.split(stored, ends, axis=1)[::-1]
    turned = [
        x.reshape(2, 3, n * n, -1).swapaxes(1, 2).reshape(2, 3 * n * n, -1)
        for x, n in zip(levels, GRIDS, strict=True)
    ]
    return np.concatenate(turned, axis=1)


def test_boxes(golden, decoded):
    corners = np.asarray(decoded[0]) * SIZE
    centre, sides = (corners[..., :2] + corners[..., 2:]) / 2, corners[..., 2:] - corners[..., :2]
    expected = ours(golden["boxes"])
    np.testing.assert_allclose(sides, expected[..., 2:], rtol=1e-4, atol=0.01)
    error = np.abs(centre - expected[..., :2])
    assert (error <= 0.01 + 1e-4 * expected[..., 2:]).all()


def test_scores(golden, decoded):
    expected = ours(golden["objectness"][..., None]) * ours(golden["class_scores"])
    np.testing.assert_allclose(decoded[1], expected, atol=1e-5)


def test_detections(golden, decoded, detector):
    found = jax.jit(jax.vmap(detector.nms))(*decoded)
    np.testing.assert_array_equal(found.valid.sum(1), golden["det_count"])
    for i, count in enumerate(golden["det_count"]):
        expected = golden["detections"][i, :count]
        np.testing.assert_array_equal(found.labels[i, :count], expected[:, 5])
        np.testing.assert_allclose(found.scores[i, :count], expected[:, 4], atol=1e-5)
        sides = expected[:, 2:4] - expected[:, :2]
        error = np.abs(found.boxes[i, :count] * SIZE - expected[:, :4])
        assert (error <= 0.01 + 1e-4 * np.tile(sides, 2)).all()
