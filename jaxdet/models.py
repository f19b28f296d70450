"""The table of models: size, work, speed on this machine, published and measured accuracy.

    python -m jaxdet.models                      # every recipe in configs/, as markdown
    python -m jaxdet.models configs/ssd300_voc.py
    python -m jaxdet.models --write=README.md    # between the two comments there

GFLOPs are billions of multiply-adds of the network for one picture. Milliseconds are a picture's
share of a batch of 8, network, decoding and NMS. Accuracy is what the recipe's docstring says.
"""

import argparse
import ast
import os
import platform
import re
import runpy
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from jaxdet import build, convolve, data
from jaxdet.detectors.detector import Detector

COLUMNS = ("config", "parameters", "MB", "GFLOPs", "anchors", "ms", "published", "measured here")
BEGIN, END = "<!-- models: python -m jaxdet.models --write=README.md -->", "<!-- /models -->"
BATCH, REPEATS = 8, 3


def main() -> None:
    """Prints the table, or writes it into a file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("configs", nargs="*", type=Path, help="recipes; all of configs/ if none")
    parser.add_argument("--write", type=Path, help="a file with the table's two comments")
    options = parser.parse_args()
    recipes = options.configs or sorted(Path("configs").glob("*.py"))
    try:
        table = markdown([row(path) for path in tqdm(recipes, unit="model")])
        if options.write:
            replace(options.write, table)
        else:
            print(table)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"jaxdet: {error}")


def row(path: Path) -> tuple[str, ...]:
    """The cells of one recipe, a file with `get_config`."""
    config: Any = ConfigDict(runpy.run_path(str(path))["get_config"]())
    classes = data.classes(config.data.train, dir=config.data.dir, root=config.data.root or None)
    detector = build.detector(config, classes)
    shapes = jax.eval_shape(detector.init, jax.random.key(0))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))
    published, measured = accuracy(path)
    return (
        f"`{path.stem}`",
        f"{parameters:,}",
        f"{parameters * 4 / 2**20:.1f}",
        f"{multiply_adds(detector, shapes) / 1e9:.2f}",
        f"{len(detector.anchors_at(detector.size).boxes):,}",
        f"{milliseconds(detector):.0f}",
        published,
        measured,
    )


def multiply_adds(detector: Detector, shapes: Any) -> float:
    """Of the network, for one picture; products with padding are left out."""
    pixels = jax.ShapeDtypeStruct((1, detector.size, detector.size, 3), jnp.float32)
    network = jax.jit(lambda v, x: detector.net.apply(v, x, train=False))
    with convolve.lax_forms():  # the others would have fewer
        return network.lower(shapes, pixels).cost_analysis()["flops"] / 2


def milliseconds(detector: Detector) -> float:
    """The time of `detector.predict` per picture, with fresh weights: the best of three batches."""
    variables = detector.init(jax.random.key(0))
    pixels = np.random.default_rng(0).uniform(0, 255, (BATCH, detector.size, detector.size, 3))
    pixels = jnp.asarray(pixels, jnp.float32)
    predict = jax.jit(detector.predict).lower(variables, pixels).compile()
    times = []
    for _ in range(1 + REPEATS):  # the first is to warm up
        start = time.perf_counter()
        jax.block_until_ready(predict(variables, pixels))
        times.append(time.perf_counter() - start)
    return 1e3 * min(times[1:]) / BATCH


def accuracy(path: Path) -> tuple[str, str]:
    """What the docstring of a recipe says under "Published:" and "Measured here:".

    ValueError where it has no such sentences.
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
    """The rows as a table, and the machine they were timed on."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *rows]
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    kind, cores = jax.devices()[0].device_kind, f"{os.cpu_count()} cores, {platform.machine()}"
    machine = f"{kind} ({cores}), jax {jax.__version__}"
    return f"{table}\n\nms: per picture, batch of {BATCH}, on {machine}.\n"


def replace(file: Path, table: str) -> None:
    """Puts the table between the two comments of `file`; ValueError where they are not there."""
    before, begin, rest = file.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{file} lacks the comments {BEGIN} and {END}")
    file.write_text(f"{before}{BEGIN}\n{table}{END}{after}")


if __name__ == "__main__":
    main()
