"""The folder of a run remembers its config, so that two recipes never mix in it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONFIG = "config.json"

# What may change between the parts of one run: where things lie, and what is reported when.
FREE = ("purpose", "data.dir", "data.root", "data.eval", "evaluation", "every", "schedule.steps")


def claim(workdir: Path, config: Mapping[str, Any]) -> None:
    """Writes `config` into a new workdir; ValueError if it was made with another config."""
    workdir.mkdir(parents=True, exist_ok=True)
    path = workdir / CONFIG
    if path.exists():
        changed = differences(json.loads(path.read_text()), config)
        refused = [line for key, line in changed.items() if not _is_free(key)]
        if refused:
            raise ValueError(
                f"{workdir} was made with another config; use another --workdir, or undo: "
                + "; ".join(refused)
            )
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


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
