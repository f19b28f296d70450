"""Evaluation as a process of its own, beside the training: every checkpoint, as it appears."""

import time
from typing import Any

import jax
from etils import epath

from jaxdet.engine import evaluate
from jaxdet.training import checkpoint, logs

EVALUATIONS = "evaluations.jsonl"
PAUSE = 5.0  # seconds before the folder is listed again


def watch(config: Any, folder: epath.Path, *, last_step: int) -> None:
    """Evaluates the checkpoints in `folder` until that of `last_step` is done.

    One line each in evaluations.jsonl; run again, it goes on after the last line. Of the run it
    only reads: the folder may be a running training's, or not there yet. A checkpoint that the
    run replaces before its turn has no line. ValueError where one cannot be read.
    """
    if jax.process_count() > 1:
        raise ValueError(f"--follow is for one process, found {jax.process_count()}")
    lines = logs.Lines(folder / EVALUATIONS)
    done = {record["step"] for record in lines.records}
    recipe = evaluate_variables = None
    while last_step not in done:
        new = [step for step in checkpoint.steps(folder) if step not in done]
        if not new:
            time.sleep(PAUSE)
            continue
        try:
            description, variables, step = checkpoint.read(folder, step=new[0])
        except ValueError:
            time.sleep(PAUSE)  # an object store deletes file by file
            if new[0] in checkpoint.steps(folder):
                raise
            continue  # it was deleted meanwhile
        if evaluate_variables is None:
            recipe, evaluate_variables = evaluate.evaluator(config, folder, description)
        result, table, _ = evaluate_variables(variables)
        print(f"step {step}, {table}\n", flush=True)
        lines.append(evaluate.record(recipe, step, result))
        done.add(step)
