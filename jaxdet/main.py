"""Train or evaluate a detector.

    jaxdet train --config=quickstart --workdir=runs/quickstart
    jaxdet eval --workdir=runs/quickstart

These are `python -m jaxdet.main`, without and with --mode=eval. Evaluation takes the
recipe that the workdir was created with, unless --config names another. A training that was told to
stop saves, and ends with exit status 75; the same command resumes it.
"""

from jaxdet.training import allocator

if __name__ == "__main__":
    allocator.keep_freed()  # before numpy and JAX start their threads

import os
import sys

import jax
from absl import flags
from clu import platform
from etils import epath
from ml_collections import ConfigDict

from jaxdet import cli
from jaxdet.engine import evaluate, train, watch
from jaxdet.training import best_checkpoint, logs, parallel, preemption, trackers, workdir

MODE = flags.DEFINE_enum("mode", "train", ["train", "eval"], "what to do (default train)")
UNTIL = flags.DEFINE_integer(
    "until", None, "save and stop at this step; run again to resume", lower_bound=1
)
FOLLOW = flags.DEFINE_bool("follow", False, "with --mode=eval: each checkpoint as it appears")
COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, if several run")
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "number of processes, if several run")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "number of this process, if several run")


def main() -> None:
    """Runs the mode given by the flags; of several processes only the first prints."""
    parallel.initialise(COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)
    if not parallel.is_first():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    folder = epath.Path(cli.WORKDIR.value).expanduser()
    config = cli.CONFIG.value
    if config is None and MODE.value == "train":
        raise ValueError("--mode=train needs a recipe: --config=NAME_OR_FILE, such as quickstart")
    if config is None:
        config = ConfigDict(workdir.stored_config(folder))
    platform.work_unit().set_task_status(f"{MODE.value} {folder}")
    {"train": _train, "eval": _eval}[MODE.value](config, folder)


def _train(config, folder: epath.Path) -> None:
    print(f"{jax.device_count()} x {jax.devices()[0].device_kind}, jax {jax.__version__}")
    try:
        done = train.train(config, folder, until=UNTIL.value)
    except preemption.Preempted as stopped:
        print(f"jaxdet: {stopped}", flush=True)
        sys.exit(os.EX_TEMPFAIL)  # 75: run again
    print(f"checkpoint   {done.checkpoints.path(int(done.state.step))}")
    print(f"metrics      {folder / logs.METRICS}")
    written = {
        "TensorBoard": logs.TENSORBOARD,
        "csv": trackers.CSV,
        "predictions": evaluate.PREDICTIONS,
        "best": best_checkpoint.FOLDER,
    }
    for name, path in written.items():
        if (folder / path).exists():  # of the last two, if there was an evaluation
            print(f"{name:11}  {folder / path}")


def _eval(config, folder: epath.Path) -> None:
    if FOLLOW.value:
        # Steps that follow from epochs are known to the run, which has the training set.
        schedule = config.schedule
        if schedule.get("epochs", 0):
            schedule = ConfigDict(workdir.stored_config(folder)).schedule
        watch.watch(config, folder, last_step=schedule.steps)
        print(f"metrics      {folder / watch.EVALUATIONS}")
        return
    evaluate.evaluate_newest(config, folder)
    print(f"metrics      {folder / evaluate.RESULT}")
    print(f"predictions  {folder / evaluate.PREDICTIONS}")


if __name__ == "__main__":
    cli.run(main, required=["workdir"])
