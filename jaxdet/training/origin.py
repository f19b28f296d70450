"""How a run began: `origin.json` in its workdir, for those who look at its results later.

It is written once, when a training begins in a workdir or weights are converted into it; resuming
leaves it as it is.
"""

import datetime
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from etils import epath

from jaxdet.training import logs, workdir
from jaxdet.version import __version__

ORIGIN = "origin.json"
_PACKAGE = Path(__file__).resolve().parents[1]


def record(folder: epath.Path) -> None:
    """Writes the flags of this program, the time, and jaxdet's version and commit."""
    if (folder / ORIGIN).exists():
        return
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    known = {"flags": sys.argv[1:], "began": now, "version": __version__, "commit": _commit()}
    workdir.write_text(folder / ORIGIN, json.dumps(known, indent=2) + "\n")


def read(folder: epath.Path) -> dict[str, Any]:
    """What is recorded: `flags`, `began`, `version`, `commit`; keys are absent where it is not.

    The beginning of older runs is taken from the names of TensorBoard's files.
    """
    path = folder / ORIGIN
    if path.exists():
        return {key: value for key, value in json.loads(path.read_text()).items() if value}
    began = _first_event(folder)
    return {"began": began.isoformat(timespec="seconds")} if began else {}


def began(folder: epath.Path) -> datetime.datetime:
    """When a run began, in local time; for a run that never logged, when its config was written."""
    if recorded := read(folder).get("began"):
        return datetime.datetime.fromisoformat(recorded).astimezone().replace(tzinfo=None)
    return datetime.datetime.fromtimestamp((folder / workdir.CONFIG).stat().mtime)


def _first_event(folder: epath.Path) -> datetime.datetime | None:
    """The time in seconds in the names of TensorBoard's files, the first."""
    events = (folder / logs.TENSORBOARD).glob("events.out.tfevents.*")
    seconds = [int(name) for name in (path.name.split(".")[3] for path in events) if name.isdigit()]
    return datetime.datetime.fromtimestamp(min(seconds)) if seconds else None


def _commit() -> str | None:
    """The commit of the checkout that jaxdet runs from, with "+" if files differ from it."""
    git = ["git", "-C", str(_PACKAGE)]
    how = dict(capture_output=True, text=True, timeout=10)
    try:
        if subprocess.run([*git, "ls-files", "--error-unmatch", __file__], **how).returncode:
            return None  # installed, perhaps below another program's checkout
        commit = subprocess.run([*git, "rev-parse", "HEAD"], **how).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], **how).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + "+" * bool(changed)
