"""What the commands share: their flags, and a one-line message for a user's mistake.

Commands that take a recipe use absl's flags, because its keys are flags too (`run`); the others use
argparse (`call`), whose flags do not mix with those of another command in the same process. Both
show their help by `Parser`, and end with the same exit statuses.
"""

import argparse
import difflib
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from jaxdet import build, limits, recipes
from jaxdet.parser import INTERRUPTED, Parser, refuse
from jaxdet.training import compilation, old_recipes, workdir

CONFIG = config_flags.DEFINE_config_file("config", None, "the recipe: a name below, or a file")
WORKDIR = flags.DEFINE_string("workdir", None, "folder for checkpoints, logs and images")


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


class _RecipeParser(flags.ArgumentParser):
    """Reads a recipe by name or file, where ml_collections takes files alone."""

    def parse(self, argument: str | None) -> ConfigDict | None:
        try:
            return None if argument is None else recipes.read(argument).lock()
        except ValueError as error:
            raise flags.Error(error) from error  # absl would begin the line with its own words

    def flag_type(self) -> str:
        return "recipe"


flags.FLAGS["config"].parser = _RecipeParser()


def call(
    name: str,
    description: str,
    add_arguments: Callable[[argparse.ArgumentParser], None],
    work: Callable[[argparse.Namespace], int | None],
    argv: Sequence[str] | None = None,
    *,
    with_recipes: bool = False,
) -> int:
    """Runs the command `python -m jaxdet.NAME`; a user's mistake ends it with a one-line message.

    `with_recipes` lists the recipes in its help. Returns the exit status that `work` returns, 0 for
    None.
    """
    parser = Parser(name, description, with_recipes=with_recipes)
    add_arguments(parser)
    args = parser.parse_args(argv)
    compilation.keep()
    try:
        return work(args) or 0
    except KeyboardInterrupt:
        return _interrupted()
    except _MISTAKES as error:
        refuse(error)


def run(work: Callable[[], int | None], *, required: Sequence[str]) -> None:
    """Parses the flags and calls `work`; a user's mistake ends it with a one-line message.

    `work` is a function of the command's module, whose docstring describes the command; the program
    ends with the exit status that it returns, 0 for None.
    """
    app.run(partial(_main, work), flags_parser=partial(_parse, work, required))


def _main(work: Callable[[], int | None], argv: list[str]) -> None:
    if len(argv) > 1:
        refuse(f"unknown arguments {argv[1:]}, expected flags such as --config=FILE")
    if not flags.FLAGS["verbosity"].present:
        _silence_libraries()
    compilation.keep()
    try:
        if CONFIG.value is not None:
            build.check_keys(CONFIG.value)
        sys.exit(work() or 0)
    except KeyboardInterrupt:
        sys.exit(_interrupted())
    except _MISTAKES as error:
        logging.debug("where it happened", exc_info=True)  # shown with --verbosity=1
        refuse(error)


def _interrupted() -> int:
    """Says so, and returns the exit status, that of a program which SIGINT ended."""
    print("jaxdet: interrupted", file=sys.stderr)
    return INTERRUPTED


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


def _parse(work: Callable[[], None], required: Sequence[str], argv: list[str]) -> list[str]:
    """Parses the flags; the message for an unknown config key suggests the closest one."""
    argv = _in_order(argv)
    sys.argv[:] = argv  # where ml_collections looks for keys of the config
    if not {"-h", "-help", "--help"}.isdisjoint(argv):
        print(_parser(work, required).format_help(), end="")
        sys.exit()
    try:
        rest = flags.FLAGS(argv)
    except (flags.UnrecognizedFlagError, AttributeError, KeyError) as error:
        refuse(_unknown_key(argv) or error)
    except flags.Error as error:
        refuse(error)
    missing = [f"--{name}" for name in required if flags.FLAGS[name].value is None]
    if missing:
        _parser(work, required).error(f"{' and '.join(missing)} must be given")
    return rest


def _in_order(argv: Sequence[str]) -> list[str]:
    """The arguments with --config=FILE before its keys, even where that was two of them."""
    program, *rest = argv
    first, others = [], []
    while rest:
        argument = rest.pop(0)
        if argument in ("--config", "-config") and rest:
            argument = f"--config={rest.pop(0)}"
        argument = re.sub("^--no-", "--no", argument)  # absl writes it without the second dash
        (first if argument.lstrip("-").startswith("config=") else others).append(argument)
    return [program, *first, *others]


def _parser(work: Callable[[], None], required: Sequence[str]) -> Parser:
    """The flags of a command as an argparse parser, for its help."""
    module = work.__globals__
    name = module["__spec__"].name.removeprefix("jaxdet.").removesuffix(".__main__")
    parser = Parser(name, module["__doc__"], with_recipes=True)
    own = flags.FLAGS.get_flags_for_module(module["__name__"])
    for flag in [flags.FLAGS["config"], flags.FLAGS["workdir"], *own]:
        shown = dict(required=flag.name in required, help=flag.help)
        if isinstance(flag, flags.BooleanFlag):
            shown |= dict(action=argparse.BooleanOptionalAction)
        elif isinstance(flag, flags.EnumFlag):
            choices = flag.parser.enum_values
            what = flag.help.removeprefix(f"<{'|'.join(choices)}>: ")
            shown |= dict(metavar=flag.name.upper(), help=f"{what}: {', '.join(choices)}")
        parser.add_argument(f"--{flag.name}", **shown)
    parser.add_argument("--config.KEY", metavar="VALUE", help="change a key of the recipe")
    return parser


def _unknown_key(argv: Sequence[str]) -> str | None:
    """The message for the first --config.KEY that the recipe does not have, or None."""
    names = [argument.lstrip("-").partition("=") for argument in argv[1:]]
    keys = [name.removeprefix("config.") for name, _, _ in names if name.startswith("config.")]
    paths = [value for name, _, value in names if name == "config"]
    if keys and not paths:
        return f"--config.{keys[0]} needs a recipe: --config=FILE"
    known = workdir.flat(recipes.read(paths[-1]).to_dict()) if keys else {}
    for key in keys:
        if key in known:
            continue
        if now := old_recipes.successor(key):
            return f"{paths[-1]} has no config.{key}; it is now config.{now}"
        (near,) = difflib.get_close_matches(key, known, n=1, cutoff=0)
        return f"{paths[-1]} has no config.{key}; did you mean config.{near}?"
    return None
