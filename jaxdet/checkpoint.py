"""Checkpoints: everything a run needs to go on as if nothing had happened, through orbax.

A checkpoint holds the train state (step, variables, optimiser, moving average), the position of
the input iterator, and the description of the model: config and class names.
"""

import json
from pathlib import Path
from typing import Any

import grain.checkpoint
import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from jaxdet.state import TrainState

FOLDER = "checkpoints"


class Checkpoints:
    """The checkpoints of one workdir; the newest `keep` are kept."""

    def __init__(self, workdir: str | Path, *, keep: int = 2):
        self.folder = epath.Path(workdir).resolve() / FOLDER
        options = ocp.CheckpointManagerOptions(max_to_keep=keep)
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def latest(self) -> int | None:
        """The step of the newest finished checkpoint, or None."""
        return self._manager.latest_step()

    def path(self, step: int) -> str:
        """Where the checkpoint of `step` lies."""
        return str(self.folder / str(step))

    def save(self, state: TrainState, iterator: Any, description: dict[str, Any]) -> None:
        """Saves; returns once the arrays are copied, and writes on in the background."""
        self._manager.save(
            int(state.step),
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state),
                data=grain.checkpoint.CheckpointSave(iterator),
                description=ocp.args.JsonSave(description),
            ),
        )

    def restore(self, state: TrainState, iterator: Any) -> TrainState:
        """The newest state, in the shapes and shardings of `state`; `iterator` is moved there."""
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        restored = self._manager.restore(
            self.latest(),
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(abstract),
                data=grain.checkpoint.CheckpointRestore(iterator),
            ),
        )
        return restored["state"]

    def close(self) -> None:
        """Waits and lets go of the folder."""
        self._manager.close()


def write(workdir: str | Path, variables: dict[str, Any], description: dict[str, Any]) -> str:
    """Variables alone, as the checkpoint of step 0; returns its path.

    Nothing to train on from: there is no optimiser and no input iterator in it.
    """
    path = epath.Path(workdir).resolve() / FOLDER / "0"
    state = TrainState(step=np.zeros((), np.int32), variables=variables, optimiser=(), ema=None)
    args = ocp.args.Composite(
        state=ocp.args.StandardSave(state), description=ocp.args.JsonSave(description)
    )
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        checkpointer.save(path, args=args)
    return str(path)


def read(workdir: str | Path) -> tuple[dict[str, Any], dict[str, Any], int]:
    """The newest checkpoint without knowing its model: (description, variables, step).

    The variables are the moving average where the run kept one. ValueError where there is none.
    """
    path = _newest(workdir)
    args = ocp.args.Composite(description=ocp.args.JsonRestore())
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        description = checkpointer.restore(path, args=args)["description"]
    state = read_state(workdir)
    return description, state["ema"] or state["variables"], int(path.name)


def read_state(workdir: str | Path) -> dict[str, Any]:
    """The train state of the newest checkpoint as nested dicts of arrays."""
    args = ocp.args.Composite(state=ocp.args.StandardRestore())
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        return checkpointer.restore(_newest(workdir), args=args)["state"]


def _newest(workdir: str | Path) -> epath.Path:
    folder = epath.Path(workdir).resolve() / FOLDER
    steps = [int(p.name) for p in folder.iterdir() if p.name.isdigit()] if folder.exists() else []
    if not steps:
        raise ValueError(f"no checkpoint in {workdir}: expected numbered folders in {folder}")
    return folder / str(max(steps))


def plain(config: Any) -> dict[str, Any]:
    """A config as plain JSON values, the form in which it is stored and compared."""
    return json.loads(config.to_json())
