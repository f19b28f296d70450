"""Times softmax, decoding and NMS of SSD300's output: one JSON line per figure.

    python benchmarks/postprocess.py [--inputs DIR] [--classes 20] [--kept 100] [--batch 8]

`scattered` candidates hardly overlap, `clustered` ones crowd around a few objects; about 400 per
class pass the score threshold. DIR holds nms_input_{clustered,scattered}_400.npz (logits, loc,
priors); without it, such inputs are generated from a seed.
"""

import argparse
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from timing import median_ms, report

from jaxdet.boxes import anchors, codecs, nms
from jaxdet.boxes.iou import from_cxcywh, pairwise_iou
from jaxdet.types import Anchors

PER_CLASS = 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=pathlib.Path)
    parser.add_argument("--classes", type=int, default=20, help="of generated inputs")
    parser.add_argument("--kept", type=int, default=100)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=50)
    arguments = parser.parse_args()

    detect = functools.partial(postprocess, max_kept=arguments.kept)
    for kind in ("clustered", "scattered"):
        if arguments.inputs:
            with np.load(arguments.inputs / f"nms_input_{kind}_{PER_CLASS}.npz") as stored:
                inputs = [stored[name] for name in ("logits", "loc", "priors")]
        else:
            inputs = make_inputs(kind, arguments.classes)
        one = jax.device_put(inputs)
        batch = [jnp.repeat(x[None], arguments.batch, axis=0) for x in one]
        more = {"classes": one[0].shape[1] - 1, "kept": int(jax.jit(detect)(*one).valid.sum())}
        ms = median_ms(jax.jit(detect), *one, repeats=arguments.repeats)
        report(f"postprocess_{kind}", ms, "ms/image", batch=1, **more)
        ms = median_ms(jax.jit(jax.vmap(detect)), *batch, repeats=arguments.repeats)
        per_image = ms / arguments.batch
        report(f"postprocess_{kind}", per_image, "ms/image", batch=arguments.batch, **more)


def postprocess(logits, codes, priors, *, max_kept):
    """Detections of one image from logits [A, K + 1] and codes [A, 4]."""
    return nms.greedy(
        codecs.decode_from_anchor(codes, as_anchors(priors)),
        jax.nn.softmax(logits)[:, 1:],
        score_threshold=0.01,
        iou_threshold=0.45,
        max_kept=max_kept,
    )


def make_inputs(kind: str, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits [A, K + 1], codes [A, 4] and priors [A, 4] with `PER_CLASS` candidates per class."""
    rng = np.random.default_rng(0)
    priors = ssd300_anchors()
    corners = from_cxcywh(priors)
    codes = rng.normal(size=priors.shape) * 0.7
    logits = rng.normal(size=(len(priors), classes + 1))
    logits[:, 0] = 10
    for label in range(1, classes + 1):
        if kind == "scattered":
            chosen = rng.permutation(len(priors))[:PER_CLASS]
        else:
            best = np.asarray(pairwise_iou(corners, corners[rng.integers(len(priors), size=3)]))
            nearest = best.argmax(axis=1)
            chosen = np.argsort(-best.max(axis=1))[:PER_CLASS]
            objects = corners[rng.integers(len(priors), size=3)][nearest[chosen]]
            codes[chosen] = codecs.encode_from_anchor(objects, as_anchors(priors[chosen]))
            codes[chosen] += rng.normal(size=(PER_CLASS, 4)) * 0.3
        logits[chosen, label] = 10 + rng.uniform(-4.4, 3, PER_CLASS)
    return logits.astype(np.float32), codes.astype(np.float32), priors


def as_anchors(priors) -> Anchors:
    """Priors [A, 4], cx cy w h, as anchors; their cells are placeholders, which nothing uses."""
    return Anchors(boxes=priors, cell=priors)


def ssd300_anchors() -> np.ndarray:
    """The published 8732 default boxes of SSD300, cx cy w h."""
    return anchors.default_boxes(
        tuple((n, n) for n in (38, 19, 10, 5, 3, 1)),
        size=300,
        strides=(8, 16, 32, 64, 100, 300),
        min_sizes=(30, 60, 111, 162, 213, 264),
        max_sizes=(60, 111, 162, 213, 264, 315),
        ratios=((2,), (2, 3), (2, 3), (2, 3), (2,), (2,)),
    ).boxes


if __name__ == "__main__":
    main()
