"""Print a table of the models: size, cost, speed on this machine, published and measured accuracy.

    python -m jaxdet.models                    # every recipe, as markdown
    python -m jaxdet.models ssd300_voc mine.py
    python -m jaxdet.models --write=docs/models.md

The last replaces the table between two comments of the file. GFLOPs are billions of multiply-adds
of the network and its decoding, for one image. Milliseconds are per image, in a batch of 8, for the
network, decoding and NMS. Accuracy is copied from the recipe's docstring.
"""

import argparse
import ast
import os
import platform
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
from tqdm import tqdm

from jaxdet import build, cli, data, recipes
from jaxdet.engine import buckets, init_from, speed, step_cost

COLUMNS = ("config", "parameters", "MB", "GFLOPs", "anchors", "ms", "published", "measured here")
BEGIN, END = "<!-- models: python -m jaxdet.models --write=docs/models.md -->", "<!-- /models -->"
BATCH = 8


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table, or writes it into a file."""
    return cli.call("models", __doc__, _add_arguments, _models, argv, with_recipes=True)


def _models(args: argparse.Namespace) -> None:
    chosen = args.recipes or [name for name in recipes.names() if "/" not in name]
    files = [recipes.find(name) for name in chosen]  # a misspelt one is said at once
    table = markdown([row(file) for file in tqdm(files, unit="model")])
    if args.write:
        replace(args.write, table)
    else:
        print(table)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipes", nargs="*", help="default all but freeze/")
    parser.add_argument("--write", type=Path, help="file that has the table between two comments")


def row(path: Path) -> tuple[str, ...]:
    """The row of one recipe, a file with `get_config`."""
    config = recipes.read(str(path))
    names = build.data(config)
    recipe = build.recipe(config, data.classes(names.train, **names.place))
    detector = recipe.detector
    variables = jax.eval_shape(detector.init, jax.random.key(0))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    shape = buckets.input_shapes(recipe)[0]
    published, measured = accuracy(path)
    return (
        f"`{path.stem}`",
        f"{parameters:,}",
        f"{parameters * 4 / 2**20:.1f}",
        f"{step_cost.multiply_adds(detector, shape) / 1e9:.2f}",
        f"{init_from.anchor_count(detector, shape):,}",
        f"{speed.milliseconds(detector, shape, batch=BATCH):.0f}",
        published,
        measured,
    )


def accuracy(path: Path) -> tuple[str, str]:
    """The sentences after "Published:" and "Measured here:" in a recipe's docstring.

    ValueError if either is missing.
    """
    doc = " ".join((ast.get_docstring(ast.parse(path.read_text())) or "").split())
    published = re.search(r"Published: (.+?)\.(?: |$)", doc)
    measured = re.search(r"Measured here: (.+?)\.(?: |$)", doc)
    if not published or not measured:
        raise ValueError(
            f"{path}: its docstring lacks a sentence 'Published: ' or 'Measured here: '"
        )
    return published[1], measured[1]


def markdown(rows: list[tuple[str, ...]]) -> str:
    """The rows as a markdown table, and below it the machine they were timed on."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *rows]
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    kind, cores = jax.devices()[0].device_kind, f"{os.cpu_count()} cores, {platform.machine()}"
    machine = f"{kind} ({cores}), jax {jax.__version__}"
    return f"{table}\n\nms: per image, batch of {BATCH}, on {machine}.\n"


def replace(file: Path, table: str) -> None:
    """Puts the table between the two comments of `file`; ValueError if they are missing."""
    before, begin, rest = file.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{file} lacks the comments {BEGIN} and {END}")
    file.write_text(f"{before}{BEGIN}\n{table}{END}{after}")


if __name__ == "__main__":
    sys.exit(main())
