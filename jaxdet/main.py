"""Train or evaluate a detector: python -m jaxdet.main --config=configs/X.py --workdir=DIR."""

import difflib
import runpy
import sys
from pathlib import Path

import jax
from absl import app, flags, logging
from clu import platform
from ml_collections import config_flags

from jaxdet import evaluate, logs, train, workdir

CONFIG = config_flags.DEFINE_config_file("config", None, "The recipe, a file of configs/.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder for checkpoints, logs and pictures.")
MODE = flags.DEFINE_enum("mode", "train", ["train", "eval"], "What to do.")
UNTIL = flags.DEFINE_integer("until", None, "Stop, saved, at this step; run again to go on.")


def main(argv: list[str]) -> None:
    """Runs the mode that the flags name; a user's mistake ends with one clear line."""
    if len(argv) > 1:
        sys.exit(f"jaxdet: unknown arguments {argv[1:]}, expected flags such as --mode=eval")
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # the libraries below talk a lot
    platform.work_unit().set_task_status(f"{MODE.value} {WORKDIR.value}")
    try:
        {"train": _train, "eval": _eval}[MODE.value](CONFIG.value, Path(WORKDIR.value))
    except (ValueError, FloatingPointError, FileNotFoundError) as error:
        logging.debug("where it happened", exc_info=True)  # shown with --verbosity=1
        sys.exit(f"jaxdet: {error}")


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


def parse(argv: list[str]) -> list[str]:
    """Parses flags; an unknown config key is refused with the nearest one there is."""
    try:
        return app.parse_flags_with_usage(argv)
    except (AttributeError, KeyError) as error:
        sys.exit(f"jaxdet: {_unknown_key(argv) or error}")


def _unknown_key(argv: list[str]) -> str | None:
    """What to say of the first --config.KEY that the recipe does not have."""
    options = [argument.lstrip("-").partition("=") for argument in argv]
    path = {name: value for name, _, value in options}["config"]
    known = workdir.flat(runpy.run_path(path)["get_config"]().to_dict())
    for name, _, _ in options:
        key = name.removeprefix("config.")
        if key != name and key not in known:
            (near,) = difflib.get_close_matches(key, known, n=1, cutoff=0)
            return f"{path} has no config.{key}; did you mean config.{near}?"
    return None


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(main, flags_parser=parse)
