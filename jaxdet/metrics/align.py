"""Checks the input of the evaluators and pairs every annotation with one `ImageDetections`."""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxdet import types

_EMPTY = types.ImageDetections(
    boxes=np.zeros((0, 4), np.float32), scores=np.zeros(0, np.float32), labels=np.zeros(0, np.int32)
)


def align(
    detections: Mapping[str, types.ImageDetections],
    annotations: Sequence[types.Annotation],
    classes: tuple[str, ...],
) -> list[types.ImageDetections]:
    """The detections of every annotated image, in the order of `annotations`.

    An image without an entry has no detections. Raises `ValueError` for ids that are unknown or
    annotated twice, for labels outside the class list, for scores that are not finite, and if the
    annotations contain no object at all.
    """
    ids = [annotation.id for annotation in annotations]
    if len(set(ids)) < len(ids):
        twice = sorted({name for name in ids if ids.count(name) > 1})
        raise ValueError(f"these images are annotated twice: {', '.join(twice[:5])}")
    unknown = sorted(detections.keys() - set(ids))
    if unknown:
        raise ValueError(
            f"detections for {len(unknown)} images that are not among the {len(ids)} annotated "
            f"images, starting with: {', '.join(unknown[:5])}"
        )
    for name, labels in _labels(detections, annotations):
        if labels.size and not (labels.min() >= 0 and labels.max() < len(classes)):
            raise ValueError(
                f"the labels in {name} are {np.unique(labels)}, expected 0..{len(classes) - 1}"
            )
    for name, each in detections.items():
        if not np.isfinite(each.scores).all():
            raise ValueError(
                f"the detections of {name} have scores that are not finite: {each.scores}"
            )
    if not sum(len(annotation.labels) for annotation in annotations):
        raise ValueError(f"nothing to evaluate: {len(annotations)} images without any object")
    return [detections.get(name, _EMPTY) for name in ids]


def _labels(
    detections: Mapping[str, types.ImageDetections], annotations: Sequence[types.Annotation]
):
    yield from ((f"the annotation of {each.id}", each.labels) for each in annotations)
    yield from ((f"the detections of {name}", each.labels) for name, each in detections.items())
