"""Takes over what a head has learnt about classes that its new dataset also has, by their names."""

from collections.abc import Sequence

import numpy as np

# VOC's names where they differ from COCO's by more than a space.
_SYNONYMS = {"aeroplane": "airplane", "motorbike": "motorcycle", "sofa": "couch", "tvmonitor": "tv"}


def same(theirs: Sequence[str], ours: Sequence[str]) -> dict[int, int]:
    """Our label -> their label, for every class that both have.

    Case, spaces, hyphens and underscores do not count; VOC's and COCO's names are synonyms.
    """
    labels = {_key(name): label for label, name in enumerate(theirs)}
    found = {label: labels.get(_key(name)) for label, name in enumerate(ours)}
    return {label: their for label, their in found.items() if their is not None}


def _key(name: str) -> str:
    plain = "".join(letter for letter in name.lower() if letter not in " _-")
    return _SYNONYMS.get(plain, plain)


def taken_over(
    array: np.ndarray,
    fresh: np.ndarray,
    *,
    name: str,
    groups: int,
    theirs: Sequence[str],
    ours: Sequence[str],
) -> np.ndarray:
    """`fresh` with those outputs of `array` that are for no class or for a class that both have.

    Both are a kernel or bias of a head's last layer; their last axis has `groups` equal parts, each
    of which ends with one output per class. ValueError, with the array's `name`, unless the parts
    differ only in that.
    """
    split = lambda x: np.array(x).reshape(*x.shape[:-1], groups, -1)
    whole = array.shape[-1] % groups == 0
    old, new = split(array) if whole else np.array(array), split(fresh)
    fixed = new.shape[-1] - len(ours)
    if old.shape[-1] - len(theirs) != fixed or old.shape[:-1] != new.shape[:-1]:
        raise ValueError(
            f"{name} has shape {array.shape} for {len(theirs)} classes, which does not fit "
            f"{fresh.shape} for {len(ours)}"
        )
    new[..., :fixed] = old[..., :fixed]
    for label, their in same(theirs, ours).items():
        new[..., fixed + label] = old[..., fixed + their]
    return new.reshape(fresh.shape)
