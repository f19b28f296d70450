"""Evaluates every checkpoint as it appears, in a separate process beside training."""

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

    Each gets a line in evaluations.jsonl; run again, it continues after the last line. It only
    reads the run's own files: training may be in progress, or not have started. A checkpoint that
    the run deletes before its turn gets no line. ValueError if one cannot be read.
    """
    if jax.process_count() > 1:
        raise ValueError(f"--follow needs a single process, found {jax.process_count()}")
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
            continue  # it has been deleted in the meantime
        if evaluate_variables is None:
            recipe, evaluate_variables = evaluate.evaluator(config, folder, description)
        result, table, _ = evaluate_variables(variables)
        print(f"step {step}, {table}\n", flush=True)
        lines.append(evaluate.record(recipe, step, result))
        done.add(step)
