"""The folder of a run: it remembers its config, and belongs to one run at a time.

A workdir is a local folder or one on an object store (gs://BUCKET/FOLDER).
"""

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterator, Mapping
from typing import IO, Any

from etils import epath

from jaxdet.training import old_recipes

CONFIG, LOCK = "config.json", "lock"

# What may change between the parts of one run: where things lie, and what is reported when.
FREE = ("purpose", "data.dir", "data.root", "data.eval", "evaluation", "every", "schedule.steps")


def is_local(path: epath.Path) -> bool:
    """Whether a path is on a file system: one can append, rename and lock there."""
    return "://" not in str(path)


def write_text(path: epath.Path, text: str) -> None:
    """Puts `text` into a file at once: after a crash it has the old text or the new one."""
    if not is_local(path):
        with _reaching(path):
            path.write_text(text)  # an object appears whole or not at all
        return
    draft = path.with_name(path.name + ".new")
    draft.write_text(text)
    draft.replace(path)


@contextlib.contextmanager
def _reaching(path: epath.Path) -> Iterator[None]:
    """OSError that says what is needed, where an object store refuses or is not there."""
    try:
        yield
    except Exception as error:  # gcsfs, the network and Google's login have their own
        if is_local(path) or isinstance(error, ImportError):
            raise
        raise OSError(
            f"{path} cannot be reached: {str(error) or type(error).__name__}; expected a "
            "bucket that this machine may read and write (gcloud auth application-default login)"
        ) from error


def lock(workdir: epath.Path) -> IO[str] | None:
    """Takes a workdir for this process, until it ends (kill -9 too) or closes what is returned.

    ValueError where another process has it. On an object store there are no locks: None, and
    nobody notices a second run.
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
    """Writes `config` into a new workdir; ValueError if it was made with another config.

    OSError where the workdir is on an object store that refuses or is not there.
    """
    path = workdir / CONFIG
    with _reaching(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
        old = path.read_text() if path.exists() else None
    if old is not None:
        changed = differences(old_recipes.translated(json.loads(old)), config)
        refused = [line for key, line in changed.items() if not _is_free(key)]
        if refused:
            raise ValueError(
                f"{workdir} was made with another config; use another --workdir, or undo: "
                + "; ".join(refused)
            )
    write_text(path, json.dumps(config, indent=2, sort_keys=True) + "\n")


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, str]:
    """The keys at which two configs differ, each with a line that shows both values."""
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
    """A tree of mappings as one, keys joined with dots."""
    joined = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            joined |= flat(value, f"{prefix}{key}.")
        else:
            joined[prefix + key] = value
    return joined
