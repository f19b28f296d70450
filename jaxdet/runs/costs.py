"""What the detector of a run costs: parameters, multiply-adds, and time on this machine."""

import json
from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict

from jaxdet import build
from jaxdet.engine import buckets, speed, step_cost
from jaxdet.runs.experiments import Experiment
from jaxdet.training import checkpoint, workdir

FILE = "cost.json"


def read(folder: epath.Path) -> dict[str, Any]:
    """The cost that was measured for a change; empty if none was."""
    path = folder / FILE
    return json.loads(path.read_text()) if path.exists() else {}


def measure(folder: epath.Path, run: Experiment) -> None:
    """Measures the cost of a change by one of its runs, and keeps it in the change's folder.

    GFLOPs are billions of multiply-adds of the network and its decoding for one image;
    milliseconds are for one image alone, NMS included, with random weights.
    """
    description = checkpoint.read_description(run.folder)
    recipe = build.recipe(ConfigDict(run.config), tuple(description["classes"]))
    detector, shape = recipe.detector, buckets.input_shapes(recipe)[0]
    variables = jax.eval_shape(detector.init, jax.random.key(0))
    known = {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(variables["params"])),
        "gflops": step_cost.multiply_adds(detector, shape) / 1e9,
        "milliseconds": speed.milliseconds(detector, shape, batch=1),
    }
    workdir.write_text(folder / FILE, json.dumps(known) + "\n")
