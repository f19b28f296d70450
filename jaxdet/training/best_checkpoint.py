"""Keeps the best checkpoint of a run, by its evaluations, in `workdir/best`.

It is in `best/checkpoints`, so `best` is itself a workdir to load, evaluate or start from.
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
    """Saves `state` as the best checkpoint of a workdir if `value` beats that of the current one.

    `measure` describes the metric and the dataset; a checkpoint with another measure cannot be
    compared and is replaced. Returns True once the new one is written, else False. Every process
    of the run must make the same call.
    """
    place = folder / FOLDER
    held = (checkpoint.read_description(place) or {}).get("best")
    if held and held["measure"] == measure and value <= held["value"]:
        return False
    checkpoints = checkpoint.Checkpoints(place, keep=1)
    checkpoints.drop(from_step=int(state.step))  # left by another measure or a dead machine
    best = {"measure": measure, "value": value}
    checkpoints.save(state, iterator, {**description, "best": best})
    checkpoints.close()
    return True
