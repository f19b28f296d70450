"""Finds and reads a recipe: the name of one in configs/, or a file with a function `get_config`."""

import contextlib
import difflib
import runpy
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

FOLDER = Path(__file__).with_name("configs")  # in a checkout a link to configs/


def names() -> list[str]:
    """The names of the recipes that come with the package, such as "quickstart"."""
    files = [*sorted(FOLDER.glob("*.py")), *sorted(FOLDER.glob("*/*.py"))]
    return [file.relative_to(FOLDER).with_suffix("").as_posix() for file in files]


def find(text: str) -> Path:
    """The file of a recipe: that path, else the recipe of that name, with or without configs/.

    ValueError, with the closest name, if there is neither.
    """
    path, known = Path(text).expanduser(), names()
    name = text.removeprefix("configs/").removesuffix(".py")
    if path.is_file():
        return path
    if name in known:
        return FOLDER / f"{name}.py"
    if text and path.is_dir():
        raise ValueError(f"{text!r} is a folder, expected a file or a name, such as quickstart")
    offered = {Path(name).name: name for name in known}
    offered |= {file.stem: str(file) for file in path.parent.glob("*.py")}
    near = difflib.get_close_matches(path.stem, offered, n=1, cutoff=0.5)
    hint = f"did you mean {offered[near[0]]}?" if near else "--help lists the names"
    raise ValueError(f"there is no file {text!r} and no recipe of that name; {hint}")


def read(text: str) -> ConfigDict:
    """The config of a recipe, which `find` finds; "FILE:ARGUMENT" passes `get_config` an argument.

    A recipe imports others as `jaxdet.configs.NAME`, and its neighbours by their names or, from a
    folder configs/, as `configs.NAME`. ValueError, in one line, if anything fails.
    """
    name, colon, argument = (text, "", "") if Path(text).is_file() else text.partition(":")
    path = find(name)
    with _importing(path):
        config = runpy.run_path(str(path))["get_config"](*[argument] if colon else [])
    if not isinstance(config, ConfigDict | dict):
        found = type(config).__name__
        raise ValueError(f"{path}: get_config() returns {found}, expected an ml_collections config")
    return ConfigDict(config)


def namespace(text: str) -> dict[str, Any]:
    """What the file of a recipe defines, by name; ValueError, in one line, if it fails."""
    path = find(text)
    with _importing(path):
        return runpy.run_path(str(path))


@contextlib.contextmanager
def _importing(path: Path) -> Iterator[None]:
    """Puts on Python's path what a recipe may import: neighbours first, last our configs/.

    ValueError, in one line, for what the recipe raises.
    """
    folder = path.absolute().parent
    above = [each.parent for each in (folder, *folder.parents) if each.name == "configs"]
    before = sys.path[:]
    sys.path[:] = [*map(str, (folder, *above, Path.cwd())), *before, str(FOLDER.parent)]
    try:
        yield
    except Exception as error:  # whatever somebody's file raises
        raise ValueError(_reason(path, error)) from error
    finally:
        sys.path[:] = before


def _reason(path: Path, error: Exception) -> str:
    """Where in a recipe an error comes from, and what it is, in one line."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == path]
    number = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    where = f"{path}, line {number}" if number else f"{path}"
    if isinstance(error, KeyError) and error.args == ("get_config",) and not lines:
        return f"{path} has no function get_config, expected a recipe as those in jaxdet.configs"
    what = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())
    return f"{where}: {type(error).__name__}: {what}"
