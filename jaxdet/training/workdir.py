"""The folder of a run: it stores the config, and only one run at a time can use it.

A workdir is a local folder or one in an object store (gs://BUCKET/FOLDER).
"""

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterator, Mapping
from typing import IO, Any

from etils import epath

from jaxdet.training import old_recipes, schedules

CONFIG, LOCK = "config.json", "lock"

# What may change when a run is resumed: where files are, and what is reported when.
FREE = ("purpose", "log", "data.dir", "data.root", "data.eval", "evaluation", "every")
FREE += ("schedule.steps", "schedule.epochs")


def is_local(path: epath.Path) -> bool:
    """Whether a path is on a file system, where files can be appended to, renamed and locked."""
    return "://" not in str(path)


def write_text(path: epath.Path, text: str) -> None:
    """Writes `text` to a file atomically: after a crash it has the old text or the new one."""
    if not is_local(path):
        with _reaching(path):
            path.write_text(text)  # an object appears whole or not at all
        return
    draft = path.with_name(path.name + ".new")
    draft.write_text(text)
    draft.replace(path)


@contextlib.contextmanager
def _reaching(path: epath.Path) -> Iterator[None]:
    """Raises OSError, saying what is needed, if an object store cannot be accessed."""
    try:
        yield
    except Exception as error:  # gcsfs, the network and Google's login have errors of their own
        if is_local(path) or isinstance(error, ImportError):
            raise
        raise OSError(
            f"{path} cannot be reached: {str(error) or type(error).__name__}; expected a "
            "bucket that this machine may read and write (gcloud auth application-default login)"
        ) from error


def lock(workdir: epath.Path) -> IO[str] | None:
    """Locks a workdir for this process, until it ends (even by kill -9) or closes the result.

    ValueError if another process has it. An object store has no locks: the result is None, and a
    second run goes unnoticed.
    """
    if not is_local(workdir):
        return None
    workdir.mkdir(parents=True, exist_ok=True)
    file = open(workdir / LOCK, "a+")  # noqa: SIM115
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        raise ValueError(
            f"{workdir} is in use by {file.read().strip()}; end that run, or use another --workdir"
        ) from None
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    return file


def claim(workdir: epath.Path, config: Mapping[str, Any]) -> None:
    """Writes `config` into a new workdir; ValueError if it was created with another config.

    OSError if the workdir is in an object store that cannot be accessed.
    """
    path = workdir / CONFIG
    with _reaching(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
        old = path.read_text() if path.exists() else None
    if old is not None:
        before = old_recipes.translated(json.loads(old))
        changed = differences(before, config)
        same = changed.keys() - differences(_in_steps(before), _in_steps(config)).keys()
        refused = [line for key, line in changed.items() if not _is_free(key) and key not in same]
        if refused:
            raise ValueError(
                f"{workdir} was created with another config; use another --workdir, or undo: "
                + "; ".join(refused)
            )
    write_text(path, json.dumps(config, indent=2, sort_keys=True) + "\n")


def _in_steps(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config whose schedule has no shares: 0.5 of 1,000 steps is the same as 500."""
    if "schedule" not in config:
        return dict(config)
    return {**config, "schedule": schedules.all_in_steps(config["schedule"])}


def stored_config(workdir: epath.Path) -> dict[str, Any]:
    """The config that a workdir was created with, plain JSON values in today's format.

    ValueError if there is none.
    """
    path = workdir / CONFIG
    with _reaching(workdir):
        if not path.exists():
            raise ValueError(f"{workdir} holds no run: there is no {CONFIG} in it")
        return old_recipes.translated(json.loads(path.read_text()))


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, str]:
    """The keys in which two configs differ, each with a line that shows both values."""
    old, new = flat(old), flat(new)
    missing = "(absent)"
    return {
        key: f"config.{key} was {old.get(key, missing)!r}, is {new.get(key, missing)!r}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key, missing) != new.get(key, missing)
    }


def _is_free(key: str) -> bool:
    return any(key == free or key.startswith(f"{free}.") for free in FREE)


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flattens nested mappings into one, with keys joined by dots."""
    joined = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            joined |= flat(value, f"{prefix}{key}.")
        else:
            joined[prefix + key] = value
    return joined
