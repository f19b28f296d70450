"""What the commands share: their flags, and a one-line message for a user's mistake.

Commands that take a recipe use absl's flags, because its keys are flags too (`run`); the others use
argparse (`call`), whose flags do not mix with those of another command in the same process.
"""

import argparse
import difflib
import runpy
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from absl import app, flags, logging
from ml_collections import config_flags

from jaxdet import build, limits
from jaxdet.training import compilation, old_recipes, workdir

CONFIG = config_flags.DEFINE_config_file("config", None, "The recipe, a file in configs/.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder for checkpoints, logs and images.")


def number(kind: Callable[[str], float], legal: limits.Range, what: str) -> Callable[[str], float]:
    """A type for argparse: an int or float in a range; `what` describes it in the message."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or value not in legal:
            raise argparse.ArgumentTypeError(f"{text!r} given, expected {what}, {legal}")
        return value

    return parse


share = number(float, limits.SHARE, "a number")
positive = number(int, limits.COUNT, "a whole number")
port = number(int, limits.Range(0, 65535), "a port")

_MISTAKES = (ValueError, FloatingPointError, OSError, OverflowError, ImportError)


def call(
    name: str,
    description: str,
    add_arguments: Callable[[argparse.ArgumentParser], None],
    work: Callable[[argparse.Namespace], int | None],
    argv: Sequence[str] | None = None,
) -> int:
    """Runs the command `python -m jaxdet.NAME`; a user's mistake ends it with a one-line message.

    Returns the exit status that `work` returns, 0 for None.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m jaxdet.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    args = parser.parse_args(argv)
    compilation.keep()
    try:
        return work(args) or 0
    except KeyboardInterrupt:
        return _interrupted()
    except _MISTAKES as error:
        sys.exit(f"jaxdet: {error}")


def run(work: Callable[[], None], *, required: Sequence[str]) -> None:
    """Parses the flags and calls `work`; a user's mistake ends it with a one-line message."""
    flags.mark_flags_as_required(required)
    app.run(partial(_main, work), flags_parser=_parse)


def _main(work: Callable[[], None], argv: list[str]) -> None:
    if len(argv) > 1:
        sys.exit(f"jaxdet: unknown arguments {argv[1:]}, expected flags such as --config=FILE")
    if not flags.FLAGS["verbosity"].present:
        _silence_libraries()
    compilation.keep()
    try:
        if CONFIG.value is not None:
            build.check_keys(CONFIG.value)
        work()
    except KeyboardInterrupt:
        sys.exit(_interrupted())
    except _MISTAKES as error:
        logging.debug("where it happened", exc_info=True)  # shown with --verbosity=1
        sys.exit(f"jaxdet: {error}")


def _interrupted() -> int:
    """Says so, and returns the exit status, that of a program which SIGINT ended."""
    print("jaxdet: interrupted", file=sys.stderr)
    return 130


def _silence_libraries() -> None:
    """Libraries log a lot, and orbax repeats errors that `checkpoint` reports once."""
    logging.set_verbosity(logging.WARNING)
    handler = logging.get_absl_handler()
    handler.addFilter(lambda record: "orbax" not in record.pathname)
    handler.addFilter(lambda record: not record.name.startswith(("gcsfs", "asyncio")))
    # When a file of a checkpoint cannot be written, orbax does not wait for the others.
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    sys.unraisablehook = _ignore_closed_event_loop


def _ignore_closed_event_loop(unraisable: Any) -> None:
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def _parse(argv: list[str]) -> list[str]:
    """Parses the flags; the message for an unknown config key suggests the closest one."""
    try:
        return app.parse_flags_with_usage(argv)
    except (AttributeError, KeyError) as error:
        sys.exit(f"jaxdet: {_unknown_key(argv) or error}")


def _unknown_key(argv: list[str]) -> str | None:
    """The message for the first --config.KEY that the recipe does not have, or None."""
    options = [argument.lstrip("-").partition("=") for argument in argv]
    following = [*argv[1:], ""]  # --config FILE means --config=FILE
    paths = [
        value or after
        for (name, _, value), after in zip(options, following, strict=True)
        if name == "config"
    ]
    path = paths[-1]
    known = workdir.flat(runpy.run_path(path)["get_config"]().to_dict())
    for name, _, _ in options:
        key = name.removeprefix("config.")
        if key == name or key in known:
            continue
        if now := old_recipes.successor(key):
            return f"{path} has no config.{key}; it is now config.{now}"
        (near,) = difflib.get_close_matches(key, known, n=1, cutoff=0)
        return f"{path} has no config.{key}; did you mean config.{near}?"
    return None
