"""Train or evaluate a detector: python -m jaxdet.main --config=configs/X.py --workdir=DIR."""

from jaxdet.training import allocator

if __name__ == "__main__":
    allocator.keep_freed()  # before numpy and JAX start their threads

import os
import sys

import jax
from absl import flags
from clu import platform
from etils import epath

from jaxdet import cli
from jaxdet.engine import evaluate, train, watch
from jaxdet.training import best_checkpoint, logs, parallel, preemption

MODE = flags.DEFINE_enum("mode", "train", ["train", "eval"], "What to do.")
UNTIL = flags.DEFINE_integer("until", None, "Stop, saved, at this step; run again to go on.")
FOLLOW = flags.DEFINE_bool("follow", False, "With --mode=eval: every checkpoint, as it appears.")
COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, where several run.")
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many run, with --coordinator.")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "This one's number, with --coordinator.")


def main() -> None:
    """Runs the mode that the flags name; of several processes the first one speaks."""
    parallel.initialise(COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)
    if not parallel.is_first():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    config, folder = cli.CONFIG.value, epath.Path(cli.WORKDIR.value).expanduser()
    platform.work_unit().set_task_status(f"{MODE.value} {folder}")
    {"train": _train, "eval": _eval}[MODE.value](config, folder)


def _train(config, folder: epath.Path) -> None:
    print(f"{jax.device_count()} x {jax.devices()[0].device_kind}, jax {jax.__version__}")
    try:
        done = train.train(config, folder, until=UNTIL.value)
    except preemption.Preempted as stopped:
        print(f"jaxdet: {stopped}", flush=True)
        sys.exit(os.EX_TEMPFAIL)  # 75: run me again
    print(f"checkpoint   {done.checkpoints.path(int(done.state.step))}")
    print(f"numbers      {folder / logs.METRICS}")
    print(f"TensorBoard  {folder / logs.TENSORBOARD}")
    for name, path in ("predictions", evaluate.PREDICTIONS), ("best", best_checkpoint.FOLDER):
        if (folder / path).exists():  # where there was an evaluation
            print(f"{name:11}  {folder / path}")


def _eval(config, folder: epath.Path) -> None:
    if FOLLOW.value:
        watch.watch(config, folder, last_step=config.schedule.steps)
        print(f"numbers      {folder / watch.EVALUATIONS}")
        return
    evaluate.evaluate_newest(config, folder)
    print(f"numbers      {folder / evaluate.RESULT}")
    print(f"predictions  {folder / evaluate.PREDICTIONS}")


if __name__ == "__main__":
    cli.run(main, required=["config", "workdir"])
