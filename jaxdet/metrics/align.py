"""What both evaluators ask of their input: one `Found` for every annotation."""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxdet import types

_NOTHING = types.Found(
    boxes=np.zeros((0, 4), np.float32), scores=np.zeros(0, np.float32), labels=np.zeros(0, np.int32)
)


def align(
    found: Mapping[str, types.Found],
    annotations: Sequence[types.Annotation],
    classes: tuple[str, ...],
) -> list[types.Found]:
    """The detections of every annotated picture, in the order of `annotations`.

    A picture without an entry is one in which nothing was found. Raises `ValueError` for ids that
    are unknown or given twice, for labels outside the class list, for scores that are not numbers,
    and where there is no object to be found at all.
    """
    ids = [annotation.id for annotation in annotations]
    if len(set(ids)) < len(ids):
        twice = sorted({name for name in ids if ids.count(name) > 1})
        raise ValueError(f"these pictures are annotated twice: {', '.join(twice[:5])}")
    unknown = sorted(found.keys() - set(ids))
    if unknown:
        raise ValueError(
            f"detections for {len(unknown)} pictures that are not among the {len(ids)} annotated "
            f"ones, the first: {', '.join(unknown[:5])}"
        )
    for name, labels in _labels(found, annotations):
        if labels.size and not (labels.min() >= 0 and labels.max() < len(classes)):
            raise ValueError(
                f"{name} has labels {np.unique(labels)}, expected 0..{len(classes) - 1}"
            )
    for name, each in found.items():
        if not np.isfinite(each.scores).all():
            raise ValueError(f"picture {name} has scores that are not finite: {each.scores}")
    if not sum(len(annotation.labels) for annotation in annotations):
        raise ValueError(f"nothing to evaluate: {len(annotations)} pictures without any object")
    return [found.get(name, _NOTHING) for name in ids]


def _labels(found: Mapping[str, types.Found], annotations: Sequence[types.Annotation]):
    yield from ((f"the annotation of {each.id}", each.labels) for each in annotations)
    yield from ((f"the detections of {name}", each.labels) for name, each in found.items())
