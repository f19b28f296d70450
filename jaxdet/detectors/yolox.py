"""YOLOX: no priors; anchors are assigned by what they predict (Ge et al. 2021,
arXiv:2107.08430)."""

from collections.abc import Callable
from functools import partial

from jaxdet.boxes import anchors, codecs, simota
from jaxdet.detectors.net import Net
from jaxdet.detectors.one_stage import OneStage
from jaxdet.detectors.yolov3 import decode
from jaxdet.losses import box, yolo
from jaxdet.losses.box import BoxLoss
from jaxdet.losses.classes import ClassLoss, bce
from jaxdet.types import Fit


def yolox(
    net: Callable[[tuple[int, ...]], Net],
    *,
    size: int,
    classes: tuple[str, ...],
    fit: Fit,
    nms: Callable,
    levels: int = 3,
    assignment: str = "released",
    box_weight: float = 5.0,
    fill: tuple[float, float, float] = (114.0, 114.0, 114.0),
    box_loss: BoxLoss = box.yolox,
    class_loss: ClassLoss = bce,
) -> OneStage:
    """YOLOX with one anchor per cell of the network's maps, of which there are `levels`.

    `net` makes the network from the number of anchors per cell for every level; `nms` is a function
    of `boxes/nms.py` with its thresholds. `assignment` is the name of a rule of `simota.RULES`:
    "released", with which the published weights were trained, or "main", that of the newest code.
    `box_weight` multiplies `box_loss`; `fill` is the colour of the padding. ValueError for an
    unknown rule.

    Since assignment takes the network's predictions, `matched` gives the anchors in the middle of
    each object, which are those that the object has first.
    """
    if assignment not in simota.RULES:
        raise ValueError(
            f"config.model.detector.assignment is {assignment!r}, expected one of "
            f"{', '.join(simota.RULES)}"
        )
    rule = simota.RULES[assignment]
    losses = partial(
        yolo.yolox, rule=rule, box_weight=box_weight, box_loss=box_loss, class_loss=class_loss
    )
    return OneStage(
        net=net((1,) * levels),
        size=size,
        classes=classes,
        fit=fit,
        anchors=anchors.cells,
        assign=partial(simota.middles, rule=rule),
        losses=losses,
        decode=partial(decode, class_loss=class_loss, codec=codecs.from_cell),
        nms=nms,
        colour=fill,
    )
