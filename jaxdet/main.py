"""Train or evaluate a detector: python -m jaxdet.main --config=configs/X.py --workdir=DIR."""

from pathlib import Path

import jax
from absl import flags
from clu import platform

from jaxdet import command, evaluate, logs, train

MODE = flags.DEFINE_enum("mode", "train", ["train", "eval"], "What to do.")
UNTIL = flags.DEFINE_integer("until", None, "Stop, saved, at this step; run again to go on.")


def main() -> None:
    """Runs the mode that the flags name."""
    config, folder = command.CONFIG.value, Path(command.WORKDIR.value)
    platform.work_unit().set_task_status(f"{MODE.value} {folder}")
    {"train": _train, "eval": _eval}[MODE.value](config, folder)


def _train(config, folder: Path) -> None:
    print(f"{jax.device_count()} x {jax.devices()[0].device_kind}, jax {jax.__version__}")
    done = train.train(config, folder, until=UNTIL.value)
    print(f"checkpoint   {done.checkpoints.path(int(done.state.step))}")
    print(f"numbers      {folder / logs.METRICS}")
    print(f"TensorBoard  {folder / logs.TENSORBOARD}")
    print(f"predictions  {folder / evaluate.PREDICTIONS}")


def _eval(config, folder: Path) -> None:
    evaluate.evaluate_newest(config, folder)
    print(f"numbers      {folder / evaluate.RESULT}")
    print(f"predictions  {folder / evaluate.PREDICTIONS}")


if __name__ == "__main__":
    command.run(main, required=["config", "workdir"])
