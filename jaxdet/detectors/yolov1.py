"""YOLO: one grid, a few boxes and one class per cell (Redmon et al. 2015, arXiv:1506.02640)."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from jaxdet.boxes import anchors, codecs, matching
from jaxdet.detectors.net import Net
from jaxdet.detectors.one_stage import OneStage
from jaxdet.losses import yolo
from jaxdet.losses.box import BoxLoss, mse
from jaxdet.types import Anchors, Fit, Raw


def yolov1(
    net: Callable[[tuple[int, ...]], Net],
    *,
    size: int,
    classes: tuple[str, ...],
    fit: Fit,
    nms: Callable,
    boxes_per_cell: int = 2,
    box_loss: BoxLoss = mse,
) -> OneStage:
    """YOLO with `boxes_per_cell` boxes in every cell of the network's one map.

    `net` makes the network from that number, in a tuple; `nms` is a function of `boxes/nms.py` with
    its thresholds. The network's outputs are confidences, probabilities and positions themselves,
    not logits (section 2.2: the last layer is linear).
    """
    return OneStage(
        net=net((boxes_per_cell,)),
        size=size,
        classes=classes,
        fit=fit,
        anchors=partial(_cells, per_cell=boxes_per_cell),
        assign=matching.by_cell,
        losses=partial(yolo.yolov1, per_cell=boxes_per_cell, box_loss=box_loss),
        decode=_decode,
        nms=nms,
    )


def _cells(grids, shape, *, per_cell) -> Anchors:
    """There are no priors: every anchor is its cell."""
    priors = [[(shape[1] / columns, shape[0] / rows)] * per_cell for rows, columns in grids]
    return anchors.prior_boxes(grids, shape, priors=priors)


def _decode(raw: Raw, anchors: Anchors) -> tuple[jax.Array, jax.Array]:
    # Two negative factors would give a high score.
    confidence, classes = jnp.clip(raw.objectness, 0, 1), jnp.clip(raw.logits, 0, 1)
    return codecs.roots.decode(raw.boxes, anchors), confidence[..., None] * classes
