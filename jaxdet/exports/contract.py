"""What every exported file does: images in, detections out, and what it knows about itself."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxdet.types import Array, Detections, Detector, Shape, Variables

INPUT = "images"
DETECTIONS = ("num_detections", "detection_boxes", "detection_scores", "detection_classes")
CANDIDATES = ("boxes", "scores")  # without NMS


@dataclasses.dataclass(frozen=True)
class Rule:
    """How detections are chosen from the candidates: the block `evaluation` of a recipe."""

    name: str  # a function of boxes/nms.py
    options: Mapping[str, Any]  # its own
    candidates: int  # the best so many of each class take part, 0 for all
    score_threshold: float
    iou_threshold: float
    max_kept: int


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is exported: a detector with its weights, at one input shape."""

    detector: Detector
    variables: Variables
    shape: Shape  # of the input, height and width
    rule: Rule
    about: Mapping[str, Any]  # for people and programs that find the file: plain JSON values


def detections(detector: Detector, variables: Variables, images: Array) -> tuple[jax.Array, ...]:
    """The `DETECTIONS` in `images` [B, H, W, 3], RGB in 0..255, uint8 or float32.

    They are the number [B, 1] int32, boxes [B, M, 4] float32, x1 y1 x2 y2 in pixels of the input,
    scores [B, M] float32 and classes [B, M] int32, by falling score, and zeros beyond the number.
    """
    found = detector.predict(variables, images.astype(jnp.float32))
    return as_outputs(found.replace(boxes=_to_pixels(found.boxes, images.shape)))


def as_outputs(found: Detections) -> tuple[jax.Array, ...]:
    """The `DETECTIONS` as detections [B, M] whose boxes are in pixels say them."""
    count = found.valid.sum(1, keepdims=True, dtype=jnp.int32)
    scores, classes = (jnp.where(found.valid, x, 0) for x in (found.scores, found.labels))
    return count, found.boxes, scores, classes.astype(jnp.int32)


def candidates(detector: Detector, variables: Variables, images: Array) -> tuple[jax.Array, ...]:
    """The `CANDIDATES` in `images`: boxes [B, A, 4], or [B, A, K, 4] if each class has its own, in
    pixels of the input, and scores [B, A, K], before NMS."""
    boxes, scores = detector.forward(variables, images.astype(jnp.float32))
    return _to_pixels(boxes, images.shape), scores


def program(nms: str) -> Callable[..., tuple[jax.Array, ...]]:
    """The program of a file without NMS, "none", or with it."""
    return candidates if nms == "none" else detections


def _to_pixels(boxes: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    height, width = shape[1:3]
    sides = jnp.array([width, height, width, height], jnp.float32)
    return boxes * sides.reshape((1,) * (boxes.ndim - 1) + (4,))


def check_nms(name: str, known: tuple[str, ...], format: str) -> None:
    """Raises ValueError for a rule that a format cannot express."""
    if name not in known:
        only = f", only for {' and '.join(known)}" if known else ""
        raise ValueError(
            f"{format} has no operator for nms={name!r}{only}; --nms=none exports the candidates"
            + ("; --nms=greedy changes the rule" if known else "")
        )
