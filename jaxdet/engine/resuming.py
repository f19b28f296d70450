"""What a checkpoint knows about its training set and schedule, and whether a run can go on with it.

Other classes are refused: the outputs would be for the wrong ones. Other images or objects are
said, and the run goes on with them, since a training set may grow; other steps likewise.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxdet import build, data

TRAINED_ON = "trained_on"  # the key of a checkpoint's description
_COLUMNS = ("sizes", "starts", "boxes", "labels", "difficult", "crowd")


def trained_on(dataset: data.Dataset) -> dict[str, Any]:
    """What identifies a training set: the number of images and of objects, and a digest of the
    images' names and sizes and of their objects, in order. No image is read."""
    hashed = hashlib.sha256("\n".join(dataset.ids).encode())
    for name in _COLUMNS:
        hashed.update(getattr(dataset.table, name).tobytes())
    counts = {"images": len(dataset), "objects": len(dataset.table.labels)}
    return {**counts, "digest": hashed.hexdigest()[:16]}


def check_classes(stored: Mapping[str, Any], dataset: data.Dataset) -> None:
    """Raises ValueError if the checkpoint with the description `stored` is for other classes."""
    theirs = tuple(stored["classes"])
    if theirs != dataset.classes:
        raise ValueError(
            f"the checkpoint has the classes {_listed(theirs)}, {dataset.name} has "
            f"{_listed(dataset.classes)}; use another --workdir, there with "
            "--config.init_from=THIS_WORKDIR to start from its weights"
        )


def _listed(classes: tuple[str, ...]) -> str:
    return f"({', '.join(classes)})"


def changed_data(stored: Mapping[str, Any], dataset: data.Dataset) -> str | None:
    """A line if the training set is not the checkpoint's; None if it is, or if that is unknown."""
    then, now = stored.get(TRAINED_ON), trained_on(dataset)
    if then is None or then == now:
        return None
    counts = [f"{d['images']:,} images and {d['objects']:,} objects" for d in (then, now)]
    what = f"{counts[0]} before, {counts[1]} now"
    if counts[0] == counts[1]:
        what = f"{counts[0]} as before, but other names, sizes, boxes or classes of objects"
    return f"{dataset.name} is not what the checkpoint was trained on: {what}; the run goes on"


def changed_steps(stored: Mapping[str, Any], recipe: build.Recipe, number: int) -> str | None:
    """A line if `schedule.steps` is not the checkpoint's, or if all are done at step `number`."""
    before = stored["config"]["schedule"]
    changes = before["steps"] != recipe.steps
    line = f"config.schedule.steps was {before['steps']:,}, is {recipe.steps:,}: " * changes
    if number >= recipe.steps:
        of = "" if changes else f" of {recipe.steps:,}"
        return f"{line}{number:,}{of} are done, nothing is left to train"
    if not changes:
        return None
    rate = float(recipe.rate(number))
    try:
        old = float(build.rate(ConfigDict({"schedule": before}))(min(number, before["steps"])))
    except ValueError:  # a schedule that earlier versions took
        return f"{line}the learning rate goes on at {rate:.3g}"
    if abs(rate - old) <= 1e-6 * old:
        return f"{line}the learning rate stays {rate:.3g} at step {number:,}"
    return (
        f"{line}the learning rate at step {number:,} is {rate:.3g}, that of a run of "
        f"{recipe.steps:,} steps, instead of {old:.3g}"
    )
