"""Average precision of VOC's classification task (Everingham et al. 2010, section 4.1).

For each class, images are ranked by its score; an image is correct if it contains the class. This
equals detection of whole images: one object per class present, difficult if all objects of that
class are.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from jaxdet import types
from jaxdet.metrics import voc

MAIN = "mAP11"  # the number that decides which checkpoint is best
NUMBERS = voc.NUMBERS

WHOLE = np.array([[0.0, 0.0, 1.0, 1.0]])


def evaluate(
    detections: Mapping[str, types.ImageDetections],
    annotations: Sequence[types.Annotation],
    classes: tuple[str, ...],
) -> dict:
    """Average precision of predicted classes, given as detections whose boxes are whole images.

    Arguments, result and errors are those of `voc.evaluate`; `objects` counts images.
    """
    return voc.evaluate(detections, [of_image(each) for each in annotations], classes)


def bootstrap(
    detections: Mapping[str, types.ImageDetections],
    annotations: Sequence[types.Annotation],
    classes: tuple[str, ...],
    *,
    other: Mapping[str, types.ImageDetections] | None = None,
) -> dict[str, tuple[float, float]]:
    """The intervals of `voc.bootstrap`."""
    return voc.bootstrap(detections, [of_image(each) for each in annotations], classes, other=other)


def of_image(truth: types.Annotation) -> types.Annotation:
    """The same image with one object per class present, as large as the image."""
    labels = np.unique(truth.labels)
    easy = np.isin(labels, truth.labels[~truth.difficult])
    return dataclasses.replace(
        truth,
        boxes=np.repeat(WHOLE, len(labels), axis=0),
        labels=labels,
        difficult=~easy,
        crowd=np.zeros(len(labels), bool),
        area=np.full(len(labels), truth.width * truth.height, np.float32),
    )


def table(result: dict, protocol: str) -> str:
    """The result of `evaluate` as text; `protocol` describes how the classes are predicted."""
    return voc.table(result, f"classification of whole images; {protocol}")
