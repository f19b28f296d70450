"""Box codes: by hand, there and back, and against the formula in a loop."""

import math

import jax
import numpy as np

from jaxdet.boxes import codecs
from jaxdet.types import Anchors

CENTRES = np.array([[0.5, 0.5, 0.2, 0.4], [0.1, 0.9, 0.3, 0.1]], np.float32)
ANCHORS = Anchors(boxes=CENTRES, cell=CENTRES)


def random_boxes(seed, *shape):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 0.6, (*shape, 2))
    return np.concatenate([low, low + rng.uniform(0.01, 0.4, (*shape, 2))], -1).astype(np.float32)


def test_by_hand():
    # Centre moved by half a width and a quarter of a height, twice as wide, equally high.
    boxes = np.array([[0.4, 0.4, 0.8, 0.8]] * 2, np.float32)
    codes = codecs.encode_from_anchor(boxes, ANCHORS)
    np.testing.assert_allclose(codes[0], [5.0, 2.5, math.log(2) / 0.2, 0.0], atol=1e-5)
    np.testing.assert_allclose(codecs.decode_from_anchor(codes, ANCHORS), boxes, atol=1e-6)


def test_zero_codes_are_the_anchors():
    decoded = codecs.decode_from_anchor(np.zeros((2, 4), np.float32), ANCHORS)
    np.testing.assert_allclose(
        decoded, [[0.4, 0.3, 0.6, 0.7], [-0.05, 0.85, 0.25, 0.95]], atol=1e-6
    )


def test_formula_in_a_loop():
    boxes = random_boxes(0, 2)
    for box, anchor, code in zip(
        boxes, CENTRES, codecs.encode_from_anchor(boxes, ANCHORS), strict=True
    ):
        x1, y1, x2, y2 = (float(v) for v in box)
        cx, cy, w, h = (float(v) for v in anchor)
        expected = [
            ((x1 + x2) / 2 - cx) / w / 0.1,
            ((y1 + y2) / 2 - cy) / h / 0.1,
            math.log((x2 - x1) / w) / 0.2,
            math.log((y2 - y1) / h) / 0.2,
        ]
        np.testing.assert_allclose(code, expected, atol=1e-4)


def test_there_and_back_for_a_batch_and_other_variances():
    boxes = random_boxes(1, 3, 2)  # [B, A, 4]
    for variances in ((0.1, 0.2), (1.0, 1.0)):
        codes = jax.jit(lambda b, v=variances: codecs.encode_from_anchor(b, ANCHORS, variances=v))(
            boxes
        )
        back = codecs.decode_from_anchor(codes, ANCHORS, variances=variances)
        np.testing.assert_allclose(back, boxes, atol=1e-6)
    one_by_one = [
        codecs.encode_from_anchor(of_one, ANCHORS, variances=(1.0, 1.0)) for of_one in boxes
    ]
    np.testing.assert_allclose(codes, one_by_one, rtol=1e-5, atol=1e-6)


def test_an_empty_box_has_a_finite_code():
    assert np.isfinite(codecs.encode_from_anchor(np.zeros((2, 4), np.float32), ANCHORS)).all()
