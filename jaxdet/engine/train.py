"""The training loop: steps, metrics, images, evaluations, checkpoints."""

import contextlib
import errno
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from etils import epath
from tqdm import tqdm

from jaxdet import visualize
from jaxdet.engine import evaluate
from jaxdet.engine.setup import Run, start
from jaxdet.training import (
    best_checkpoint,
    checkpoint,
    parallel,
    patience,
    preemption,
    progress,
)
from jaxdet.training.step import step_keys
from jaxdet.types import Batch


def train(config: Any, folder: epath.Path, *, until: int | None = None) -> Run:
    """Trains up to `config.schedule.steps`, resuming from the newest checkpoint in `folder`.

    With `until` it saves and stops at that step; run again, it continues bit for bit. ValueError
    for a config that cannot work, or a folder in use; FloatingPointError, naming the images, if a
    loss is not finite; OSError if a checkpoint cannot be written or the disk is full;
    `preemption.Preempted`, once saved, if told to stop. It ends earlier, saved too, if the
    evaluations have not got better for `config.every.patience`.
    """
    with contextlib.ExitStack() as stack:
        notice = stack.enter_context(preemption.Notice())
        stack.enter_context(explain_full_disk(folder))
        run = stack.enter_context(contextlib.closing(start(config, folder)))
        last = run.recipe.steps if until is None else min(until, run.recipe.steps)
        stopped_at = loop(run, notice, last)
        early = stopped_early(run)
    if early:
        print(early, flush=True)
    elif stopped_at < last:
        raise preemption.Preempted(
            f"told to stop, saved at step {stopped_at} in {folder}; "
            "run the same command again to resume"
        )
    return run


@contextlib.contextmanager
def explain_full_disk(folder: epath.Path) -> Iterator[None]:
    """Adds the folder, and the checkpoint to resume from, to the system's bare "no space" error."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        newest = checkpoint.steps(folder)[-1:]
        left = f"checkpoint {newest[0]} is intact" if newest else "there is no checkpoint yet"
        raise OSError(
            f"could not write to {folder}: {error.strerror}; {left}; free some space and run "
            "the same command again"
        ) from error


def loop(run: Run, notice: preemption.Notice, last: int) -> int:
    """Trains up to step `last`, or until told to stop; returns the step reached, which is saved."""
    number = int(run.state.step)
    meter = Meter(run)
    every = run.recipe.every.evaluation
    if number and due(every, number, last) and not run.log.has(number, "eval"):
        run_evaluation(run, number)  # a crash came between this checkpoint and its evaluation
    early = stopped_early(run)
    with progress_bar(number, last) as bar:
        while number < last and not notice.reached(number) and not early:
            number += 1
            with meter.waiting():
                batch = next(run.iterator)
            step = run.program(number)
            batch_on_devices = parallel.shard_batch(batch, run.mesh)
            run.state, scalars = step(run.state, batch_on_devices, np.uint32(run.recipe.seed))
            meter.leave_out(step.took)
            progress.leave_out(bar, step.took)
            meter.add(number, batch.id, scalars)
            bar.update()
            report(run, meter, bar, batch, number, last)
            if due(every, number, last):
                early = stopped_early(run)
    run.checkpoints.wait()
    if number < last and number > (run.checkpoints.latest() or 0):
        save(run, meter, number)
        run.checkpoints.wait()
    return number


def progress_bar(first: int, last: int) -> tqdm:
    """The progress bar of the first process; in the others it is not shown."""
    return progress.bar(total=last, initial=first, desc="training", unit="step")


def stopped_early(run: Run) -> str | None:
    """A line that says why the run ends before its last step, or None."""
    recipe = run.recipe
    return patience.spent(run.log.records, recipe.evaluation.main_name, recipe.every.patience)


def due(every: int, number: int, last: int) -> bool:
    """Whether something done every `every` steps, and at the last, is due; 0 means never."""
    return every > 0 and (number == last or number % every == 0)


def report(run: Run, meter: "Meter", bar: tqdm, batch: Batch, number: int, last: int) -> None:
    """Does what is due after step `number`: metrics, image, checkpoint, evaluation.

    The last step always has a checkpoint. What is logged before a checkpoint is on disk when the
    checkpoint is; after a crash the rest is cut off and computed again.
    """
    every = run.recipe.every
    saves = due(every.checkpoint, number, last) or number == last
    evaluates = due(every.evaluation, number, last)
    if due(every.log, number, last) or saves or evaluates:
        bar.set_postfix(meter.flush(number), refresh=False)  # with the next step
        run.checkpoints.check()
    reported = time.perf_counter()
    if due(every.picture, number, last) and parallel.is_first():
        run.log.image(number, "training_batch", training_sheet(run, batch, number))
    if saves:
        save(run, meter, number)
    if evaluates:
        run_evaluation(run, number)
    meter.leave_out(time.perf_counter() - reported)


def save(run: Run, meter: "Meter", number: int) -> None:
    """Saves the state after step `number`; its scalars are checked and logged first."""
    meter.flush(number)
    run.log.flush()
    run.checkpoints.save(run.state, run.iterator, run.description)


class Meter:
    """Averages the scalars of the steps between two reports, and raises if one is not finite.

    It reads a step's scalars while the next step runs, so the device never waits.
    """

    def __init__(self, run: Run):
        self._run = run
        self._pending: tuple[int, np.ndarray, dict[str, jax.Array]] | None = None
        self._window: list[dict[str, float]] = []
        self._since, self._waited = time.perf_counter(), 0.0

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """A context whose time counts as waiting for input."""
        began = time.perf_counter()
        yield
        self._waited += time.perf_counter() - began

    def leave_out(self, seconds: float) -> None:
        """Excludes time that was not spent on steps from the images per second."""
        self._since += seconds

    def add(self, number: int, ids: np.ndarray, scalars: dict[str, jax.Array]) -> None:
        """Adds the scalars of a step that was just dispatched."""
        self._settle()
        self._pending = (number, ids, scalars)

    def flush(self, number: int) -> dict[str, str]:
        """Logs the averages since the last flush, if any; returns what the progress bar shows."""
        self._settle()
        window, self._window = self._window, []
        if not window:
            return {}
        mean = {name: float(np.mean([w[name] for w in window])) for name in window[0]}
        now = time.perf_counter()
        elapsed, self._since = now - self._since, now
        waited, self._waited = self._waited, 0.0
        rate = len(window) * self._run.recipe.data.batch_size / elapsed
        learning_rate = float(self._run.recipe.rate(number - 1))
        speed = {"images_per_second": rate, "share_waiting_for_input": waited / elapsed}
        self._run.log.scalars(number, "train", {**mean, "learning_rate": learning_rate, **speed})
        epochs = number * self._run.recipe.data.batch_size / len(self._run.train_set)
        return {
            "loss": f"{mean['loss']:.3f}",
            "rate": f"{learning_rate:.2g}",
            "epoch": f"{epochs:.2f}",
            "images/s": f"{rate:.1f}",
        }

    def _settle(self) -> None:
        if self._pending is None:
            return
        (number, ids, scalars), self._pending = self._pending, None
        scalars = {name: float(value) for name, value in jax.device_get(scalars).items()}
        if not np.isfinite(list(scalars.values())).all():
            names = ", ".join(self._run.train_set.ids[i] for i in parallel.gather(ids))
            raise FloatingPointError(
                f"not finite at step {number}: {scalars}; images of the batch: {names}; "
                f"the last good checkpoint is that of step {self._run.checkpoints.latest()}"
            )
        self._window.append(scalars)


def run_evaluation(run: Run, number: int) -> None:
    """Evaluates the current variables: prints the table, logs the metrics, draws a contact sheet.

    The state is kept as `best` if its main number is the best so far. Logging comes last: an
    evaluation cut short by a crash is not in the log, and is repeated when the run resumes.
    """
    result, table, sheet = evaluate.evaluate(
        run.recipe, run.predict, run.state.best_variables, run.eval_set, run.mesh
    )
    tqdm.write(f"\nstep {number}, {table}\n")
    name, value = evaluate.main_number(run.recipe, result)
    protocol = evaluate.protocol(run.recipe)
    run.checkpoints.wait()  # one writer at a time
    kept = best_checkpoint.offer(
        run.folder,
        value,
        measure=f"{name} on {run.recipe.data.eval}, {protocol}",
        state=run.state,
        iterator=run.iterator,
        description=run.description,
    )
    if kept:
        place = run.folder / best_checkpoint.FOLDER
        tqdm.write(f"best {name} so far: {100 * value:.2f}, kept in {place}\n")
    if parallel.is_first():
        visualize.save_png(run.folder / evaluate.PREDICTIONS, sheet)
    run.log.image(number, "predictions", sheet)
    run.log.scalars(number, "eval", evaluate.numbers(result))


def training_sheet(run: Run, batch: Batch, number: int) -> np.ndarray:
    """What the network saw at step `number`: images, objects and the anchors they match."""
    view_key, _ = step_keys(run.recipe.seed, number - 1)
    pixels, objects, anchors, positive = jax.device_get(run.preview(number)(view_key, batch))
    return visualize.batch_sheet(pixels, objects, anchors, positive, classes=run.train_set.classes)
