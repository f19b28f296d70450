"""The training loop: steps, numbers, pictures, evaluations, checkpoints."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from jaxdet import evaluate, parallel, visualize
from jaxdet.run import Run, start
from jaxdet.step import step_keys
from jaxdet.types import Batch


def train(config: Any, folder: Path, *, until: int | None = None) -> Run:
    """Trains to `config.schedule.steps`, going on from the newest checkpoint in `folder`.

    With `until` it stops, saved, at that step; run again, it goes on bit for bit. ValueError for
    a config that cannot work; FloatingPointError, with the pictures, when a loss is not finite.
    """
    run = start(config, folder)
    last = config.schedule.steps if until is None else min(until, config.schedule.steps)
    first = int(run.state.step)
    meter = Meter(run)
    with tqdm(total=last, initial=first, desc="training", unit="step", dynamic_ncols=True) as bar:
        for number in range(first + 1, last + 1):
            with meter.waiting():
                batch = next(run.iterator)
            step = run.program(number)
            run.state, scalars = step(run.state, parallel.shard_batch(batch, run.mesh))
            meter.add(number, batch.id, scalars)
            bar.update()
            report(run, meter, bar, batch, number, last=number == last)
    run.checkpoints.close()
    run.log.close()
    return run


def report(run: Run, meter: "Meter", bar: tqdm, batch: Batch, number: int, *, last: bool) -> None:
    """What is due after step `number`: numbers, picture, checkpoint, evaluation; at the end all."""

    def due(every: int) -> bool:
        return last or (every > 0 and number % every == 0)

    every = run.config.every
    if due(every.log) or due(every.checkpoint):
        bar.set_postfix(meter.flush(number))
    if due(every.checkpoint):
        run.checkpoints.save(run.state, run.iterator, run.description)
    reported = time.perf_counter()
    if due(every.picture):
        run.log.picture(number, "training_batch", training_sheet(run, batch, number))
    if due(every.evaluation):
        run_evaluation(run, number)
    meter.leave_out(time.perf_counter() - reported)


class Meter:
    """Averages the scalars of the steps between two reports, and stops at one that is not finite.

    It looks at a step's scalars when the next step is under way, so the device never waits.
    """

    def __init__(self, run: Run):
        self._run = run
        self._pending: tuple[int, np.ndarray, dict[str, jax.Array]] | None = None
        self._window: list[dict[str, float]] = []
        self._since, self._waited = time.perf_counter(), 0.0

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts what happens inside as time that the next step waited for its input."""
        began = time.perf_counter()
        yield
        self._waited += time.perf_counter() - began

    def leave_out(self, seconds: float) -> None:
        """Keeps time that was not spent on steps out of the pictures per second."""
        self._since += seconds

    def add(self, number: int, ids: np.ndarray, scalars: dict[str, jax.Array]) -> None:
        """Takes the scalars of a step that was just sent off."""
        self._settle()
        self._pending = (number, ids, scalars)

    def flush(self, number: int) -> dict[str, str]:
        """Writes the averages to the log; returns what the progress bar shows."""
        self._settle()
        window, self._window = self._window, []
        mean = {name: float(np.mean([w[name] for w in window])) for name in window[0]}
        now = time.perf_counter()
        elapsed, self._since = now - self._since, now
        waited, self._waited = self._waited, 0.0
        rate = len(window) * self._run.config.data.batch_size / elapsed
        speed = {"pictures_per_second": rate, "share_waiting_for_input": waited / elapsed}
        self._run.log.scalars(number, "train", {**mean, **speed})
        return {"loss": f"{mean['loss']:.3f}", "pictures/s": f"{rate:.1f}"}

    def _settle(self) -> None:
        if self._pending is None:
            return
        (number, ids, scalars), self._pending = self._pending, None
        scalars = {name: float(value) for name, value in jax.device_get(scalars).items()}
        if not np.isfinite(list(scalars.values())).all():
            names = ", ".join(self._run.train_set.ids[i] for i in ids)
            raise FloatingPointError(
                f"not finite at step {number}: {scalars}; the pictures of that batch: {names}; "
                f"the last good checkpoint is that of step {self._run.checkpoints.latest()}"
            )
        self._window.append(scalars)


def run_evaluation(run: Run, number: int) -> None:
    """Evaluates the present variables: prints the table, logs the numbers, draws a sheet."""
    result, table, sheet = evaluate.evaluate(
        run.config, run.detector, run.predict, run.state.best_variables, run.eval_set, run.mesh
    )
    tqdm.write(f"\nstep {number}, {table}\n")
    run.log.scalars(number, "eval", evaluate.numbers(result))
    run.log.picture(number, "predictions", sheet)
    visualize.save_png(run.folder / evaluate.PREDICTIONS, sheet)


def training_sheet(run: Run, batch: Batch, number: int) -> np.ndarray:
    """What the network saw at step `number`: pictures, objects and the anchors they match."""
    view_key, _ = step_keys(run.config.seed, number - 1)
    pixels, objects, positive = jax.device_get(run.preview(view_key, batch))
    anchors = run.detector.anchors_at(pixels.shape[1])
    return visualize.batch_sheet(pixels, objects, anchors, positive, classes=run.train_set.classes)
