"""Where jaxdet keeps files for later commands."""

import os
from pathlib import Path


def folder(name: str) -> Path:
    """The folder `name` in $JAXDET_CACHE, else in $XDG_CACHE_HOME/jaxdet, else ~/.cache/jaxdet."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("JAXDET_CACHE") or f"{cache}/jaxdet").expanduser() / name
