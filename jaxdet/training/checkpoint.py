"""Checkpoints, written with orbax: everything a run needs to resume as if never interrupted.

A checkpoint holds the train state (step, variables, optimiser, moving average), the position of
the input iterator, and the description of the model: config and class names. It appears under its
step number only once it is complete, so a crash during writing leaves the earlier ones intact.
"""

import contextlib
import itertools
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import fsspec
import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from etils import epath

from jaxdet.training import old_recipes, parallel
from jaxdet.training.state import TrainState

# gcsfs caches listings: what another process writes later would never appear.
fsspec.config.conf.setdefault("gcs", {})["use_listings_cache"] = False

FOLDER = "checkpoints"
Read = TypeVar("Read")


class Checkpoints:
    """The checkpoints of one workdir, for the run that writes them; the newest `keep` are kept.

    Every process of the run creates one and calls the same methods in the same order.
    """

    def __init__(self, workdir: str | Path, *, keep: int = 2):
        self.folder = _folder(workdir)
        _sweep(self.folder)
        options = ocp.CheckpointManagerOptions(max_to_keep=keep)
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def latest(self) -> int | None:
        """The step of the newest complete checkpoint, or None."""
        return max(_steps(self.folder), default=None)

    def path(self, step: int) -> str:
        """The path of the checkpoint of `step`."""
        return str(self.folder / str(step))

    def save(self, state: TrainState, iterator: Any, description: dict[str, Any]) -> None:
        """Saves a checkpoint; returns once the arrays are copied and writes in the background.

        OSError, naming the checkpoint to resume from, if this or the previous save failed.
        """
        with self._writing():
            saved = self._manager.save(
                int(state.step),
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state),
                    data=ocp.args.JsonSave(iterator.get_state()),  # the same in all processes
                    description=ocp.args.JsonSave(description),
                ),
            )
        assert saved, f"orbax has a checkpoint after step {int(state.step)}"

    def check(self) -> None:
        """Raises OSError, as `save` does, if writing in the background has failed."""
        with self._writing():
            self._manager.check_for_errors()

    def wait(self) -> None:
        """Waits until everything is written; OSError as from `save`."""
        with self._writing():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits until everything is written, and releases the folder."""
        with self._writing():
            self._manager.close()

    def drop(self, *, from_step: int) -> None:
        """Deletes the checkpoints from `from_step` on."""
        for step in list(self._manager.all_steps()):
            if step >= from_step:
                self._manager.delete(step)

    def restore(self, state: TrainState, iterator: Any) -> TrainState:
        """The newest readable state, with the shapes and shardings of `state`; sets `iterator` too.

        Newer checkpoints that cannot be read are set aside: renamed, not deleted. ValueError if
        none can be read; then nothing is renamed, as the fault may lie elsewhere.
        """
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        args = ocp.args.Composite(
            state=ocp.args.StandardRestore(abstract),
            data=ocp.args.JsonRestore(),
            description=ocp.args.JsonRestore(),  # unused here, but needed by later loads
        )
        restored, damaged = _newest(
            self.folder, lambda path: self._manager.restore(int(path.name), args=args)
        )
        if damaged:
            self._set_aside(damaged)
        iterator.set_state(restored["data"])
        return restored["state"]

    def _set_aside(self, damaged: list[epath.Path]) -> None:
        if parallel.is_first():
            for path in damaged:
                names = (path.with_name(f"damaged-{path.name}-{i}") for i in itertools.count(1))
                aside = next(name for name in names if not name.exists())
                path.rename(aside)
                logging.warning("%s was renamed to %s", path, aside.name)
        ocp.utils.sync_global_processes("damaged checkpoints are set aside")
        self._manager.reload()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # from orbax, tensorstore or the file system
            good = self.latest()
            left = "no checkpoint yet" if good is None else f"checkpoint {good} is intact"
            raise OSError(
                f"could not write a checkpoint to {self.folder} ({_free(self.folder)}): "
                f"{_reason(error)}; {left}; fix this and run the same command again"
            ) from error


def write(workdir: str | Path, variables: dict[str, Any], description: dict[str, Any]) -> str:
    """Writes variables alone, as the checkpoint of step 0; returns its path.

    Training cannot resume from it: it has no optimiser state and no input iterator.
    """
    path = _folder(workdir) / "0"
    state = TrainState(step=np.zeros((), np.int32), variables=variables, optimiser=(), ema=None)
    args = ocp.args.Composite(
        state=ocp.args.StandardSave(state), description=ocp.args.JsonSave(description)
    )
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        checkpointer.save(path, args=args)
    return str(path)


def steps(workdir: str | Path) -> list[int]:
    """The steps of the complete checkpoints in a workdir, in order."""
    return _steps(_folder(workdir))


def read(
    workdir: str | Path, *, step: int | None = None
) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Reads a checkpoint without knowing its model: (description, variables, step).

    It is that of `step`, or by default the newest; if one cannot be read, a warning names it and
    the one before it is used. The variables are the moving average if the run kept one. ValueError
    if there is no readable checkpoint.
    """
    (description, state, step), _ = _newest(_folder(workdir), _read, only=step)
    return description, state["ema"] or state["variables"], step


def read_state(workdir: str | Path) -> dict[str, Any]:
    """The train state of the newest checkpoint as nested dicts of arrays."""
    (_, state, _), _ = _newest(_folder(workdir), _read)
    return state


def read_description(workdir: str | Path) -> dict[str, Any] | None:
    """The description of the newest checkpoint; None, with a warning, if none can be read."""
    try:
        return _newest(_folder(workdir), _read_description)[0] if steps(workdir) else None
    except ValueError as error:
        logging.warning("%s", error)
        return None


def _read(path: epath.Path) -> tuple[dict[str, Any], dict[str, Any], int]:
    json_handler = ocp.JsonCheckpointHandler()
    handler = ocp.CompositeCheckpointHandler(
        state=ocp.PyTreeCheckpointHandler(), data=json_handler, description=json_handler
    )
    with ocp.Checkpointer(handler) as checkpointer:
        tree = checkpointer.metadata(path).item_metadata["state"].tree
        # As numpy: by default orbax expects the devices that the arrays were saved from.
        kinds = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        args = ocp.args.Composite(
            state=ocp.args.PyTreeRestore(restore_args=kinds), description=ocp.args.JsonRestore()
        )
        restored = checkpointer.restore(path, args=args)
    return _translated(restored["description"]), restored["state"], int(path.name)


def _read_description(path: epath.Path) -> dict[str, Any]:
    args = ocp.args.Composite(description=ocp.args.JsonRestore())
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        return _translated(checkpointer.restore(path, args=args)["description"])


def _translated(description: dict[str, Any]) -> dict[str, Any]:
    """A description with its config in the current format."""
    return {**description, "config": old_recipes.translated(description["config"])}


def _newest(
    folder: epath.Path, read: Callable[[epath.Path], Read], *, only: int | None = None
) -> tuple[Read, list[epath.Path]]:
    """What `read` returns for the newest readable checkpoint, and the unreadable newer ones."""
    damaged, reasons = [], []
    for step in reversed(_steps(folder)) if only is None else [only]:
        path = folder / str(step)
        try:
            done = read(path)
        except Exception as error:  # a damaged file can raise anything
            damaged.append(path)
            reasons.append(f"{path} cannot be read: {_reason(error)}")
            continue
        for reason in reasons:
            logging.warning("%s; using checkpoint %d instead", reason, step)
        return done, damaged
    if damaged:
        raise ValueError("; ".join(reasons))
    raise ValueError(f"no checkpoint in {folder.parent}: expected numbered folders in {folder}")


def _folder(workdir: str | Path) -> epath.Path:
    path = epath.Path(workdir)
    # `resolve` would turn gs://BUCKET into a folder below the current one.
    return (path if _is_in_store(path) else path.resolve()) / FOLDER


def _sweep(folder: epath.Path) -> None:
    """Deletes what a killed run was still writing, which would fill the disk.

    orbax can do so itself, but in a thread that closing does not wait for: a manager opened next
    would find the same folder, and then find it gone.
    """
    if parallel.is_first() and folder.exists():
        for path in folder.iterdir():
            if ocp.utils.is_tmp_checkpoint(path):
                path.rmtree()
    ocp.utils.sync_global_processes("unfinished checkpoints are deleted")


def _is_in_store(path: epath.Path) -> bool:
    return "://" in str(path)


def _steps(folder: epath.Path) -> list[int]:
    try:
        paths = ocp.utils.checkpoint_steps_paths(folder)
    except OSError:
        raise
    except Exception as error:  # gcsfs has its own error for missing credentials
        raise OSError(f"cannot list {folder}: {error}") from error
    return sorted(int(path.name) for path in paths if path.name.isdigit())


def _free(folder: epath.Path) -> str:
    if _is_in_store(folder):
        return "an object store"
    return f"{shutil.disk_usage(folder).free / 2**30:.1f} GiB free"


def _reason(error: Exception) -> str:
    """The first line of the root cause; of a long one only the end, which names the fault.

    Tensorstore's additions, [tensorstore_spec='...'] and the like, are left out.
    """
    while error.__cause__:
        error = error.__cause__
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    line = re.split(r" \[[\w ]+='", line)[0]
    return line if len(line) < 200 else f"... {line[-200:]}"
