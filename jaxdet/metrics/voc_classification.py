"""Average precision of VOC's classification task (Everingham et al. 2010, section 4.1).

Pictures are ranked by a class's score, and right where the class is in them. That is detection of
whole pictures: one object per class that is there, difficult where all of its objects are.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from jaxdet import types
from jaxdet.metrics import voc

MAIN = "mAP11"  # of the numbers, what decides which checkpoint is best

WHOLE = np.array([[0.0, 0.0, 1.0, 1.0]])


def evaluate(
    found: Mapping[str, types.Found],
    annotations: Sequence[types.Annotation],
    classes: tuple[str, ...],
) -> dict:
    """Average precision of the classes found, whose boxes are whole pictures.

    Arguments, result and errors are those of `voc.evaluate`; `objects` are pictures.
    """
    return voc.evaluate(found, [of_image(each) for each in annotations], classes)


def of_image(truth: types.Annotation) -> types.Annotation:
    """The same picture with one object a class, as large as the picture."""
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
    """The result of `evaluate` as text; `protocol` says how the classes were found."""
    return voc.table(result, f"of whole pictures (classification); {protocol}")
