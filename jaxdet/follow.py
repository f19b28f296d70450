"""Evaluation as a process of its own, beside the training: every checkpoint, as it appears."""

import time
from typing import Any

import jax
from etils import epath

from jaxdet import checkpoint, evaluate, logs

EVALUATIONS = "evaluations.jsonl"
PAUSE = 5.0  # seconds between two looks into the folder


def follow(config: Any, folder: epath.Path) -> None:
    """Evaluates the checkpoints in `folder` until that of step `config.schedule.steps` is done.

    One line each in evaluations.jsonl; run again, it goes on after the last line. Of the run it
    only reads: the folder may be a running training's, or not there yet. A checkpoint that the
    run replaces before its turn has no line. ValueError where one cannot be read.
    """
    if jax.process_count() > 1:
        raise ValueError(f"--follow is for one process, found {jax.process_count()}")
    lines = logs.Lines(folder / EVALUATIONS)
    done = {record["step"] for record in lines.records}
    judge = None
    while config.schedule.steps not in done:
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
        judge = judge or evaluate.checkpoint_judge(config, folder, description)
        result, table, _ = judge(variables)
        print(f"step {step}, {table}\n", flush=True)
        lines.append(evaluate.record(config, step, result))
        done.add(step)
