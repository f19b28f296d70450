"""The best checkpoint of a run by its evaluations, beside the newest ones: `workdir/best`.

It lies in `best/checkpoints`, so the folder is itself a workdir to load, evaluate, or begin from.
"""

from typing import Any

from etils import epath

from jaxdet.training import checkpoint
from jaxdet.training.state import TrainState

FOLDER = "best"


def offer(
    folder: epath.Path,
    value: float,
    *,
    measure: str,
    state: TrainState,
    iterator: Any,
    description: dict[str, Any],
) -> bool:
    """Keeps `state` as the best of a workdir where `value` beats that of the one kept.

    `measure` says what is measured on what; values of another measure do not compare, and give
    way. True once it is written. Every process of the run must offer the same.
    """
    place = folder / FOLDER
    held = (checkpoint.read_description(place) or {}).get("best")
    if held and held["measure"] == measure and value <= held["value"]:
        return False
    checkpoints = checkpoint.Checkpoints(place, keep=1)
    checkpoints.drop(from_step=int(state.step))  # of a measure, or of a machine, that is no more
    best = {"measure": measure, "value": value}
    checkpoints.save(state, iterator, {**description, "best": best})
    checkpoints.close()
    return True
