"""argparse's parser, with a help that fits a terminal and errors of one line."""

import argparse
import shutil
import sys
import textwrap
from functools import partial
from typing import NoReturn

from jaxdet import recipes

MISTAKE, INTERRUPTED = 2, 130  # exit statuses; a training that was told to stop has 75


def refuse(reason: object) -> NoReturn:
    """Ends the program with a one-line message and the exit status of a user's mistake."""
    print(f"jaxdet: {reason}", file=sys.stderr)
    stop = SystemExit(f"jaxdet: {reason}")
    stop.code = MISTAKE
    raise stop


class Parser(argparse.ArgumentParser):
    """A parser whose help fits a terminal, and whose errors are one line.

    `description` is a module's docstring; `with_recipes` lists the recipes below the flags.
    """

    def __init__(self, name: str, description: str, *, with_recipes: bool):
        typed = f"python -m jaxdet.{name}"
        if sys.argv[0].startswith("jaxdet "):  # by jaxdet/__main__.py
            description = description.replace(f"    {typed}", f"    {sys.argv[0]}")
            typed = sys.argv[0]
        columns = min(shutil.get_terminal_size().columns, 80)
        form = partial(argparse.RawDescriptionHelpFormatter, width=columns, max_help_position=28)
        super().__init__(typed, formatter_class=form, description=_fitted(description, columns))
        if with_recipes:
            self.epilog = f"recipes:\n{_recipes_in_columns(columns)}"

    def error(self, message: str) -> NoReturn:
        refuse(f"{message}; {self.prog} --help lists the flags")


def _fitted(text: str, columns: int) -> str:
    """A docstring whose lines fit; items of a list and the lines of commands stay apart."""
    return "\n\n".join(_filled(block, columns) for block in text.strip().split("\n\n"))


def _filled(block: str, columns: int) -> str:
    if block.startswith("    "):  # commands; a docstring has joined those that end in a backslash
        return "\n".join(_command(line, columns) for line in block.splitlines())
    items = block.replace("\n- ", "\n\n- ").split("\n\n")
    indents = ["  " * item.startswith("- ") for item in items]
    return "\n".join(
        textwrap.fill(" ".join(item.split()), columns, subsequent_indent=indent)
        for item, indent in zip(items, indents, strict=True)
    )


def _command(line: str, columns: int) -> str:
    if len(line) <= columns:
        return line
    whole = dict(break_long_words=False, break_on_hyphens=False)
    indents = dict(initial_indent=" " * 4, subsequent_indent=" " * 8)
    return " \\\n".join(textwrap.wrap(" ".join(line.split()), columns - 2, **indents, **whole))


def _recipes_in_columns(columns: int) -> str:
    names = recipes.names()
    width = 2 + max(map(len, names))
    across = max(1, columns // width)
    down = -(-len(names) // across)
    rows = ["".join(f"  {name:<{width - 2}}" for name in names[i::down]) for i in range(down)]
    return "\n".join(row.rstrip() for row in rows)
