"""The command `jaxdet`: lists the commands, and runs one of them."""

import difflib
import runpy
import sys
from collections.abc import Sequence

from jaxdet.version import __version__

# What each command runs, and what it is for. Nothing is imported to list them.
COMMANDS = {
    "train": ("main", "Train a detector, or resume a training."),
    "eval": ("main", "Evaluate the newest checkpoint, or each as it appears."),
    "predict": ("predict", "Detect objects in images and videos, and draw them."),
    "prepare": ("prepare", "Make a dataset from a folder of your own images."),
    "report": ("report", "Show in one page what a detector gets right and wrong."),
    "sweep": ("sweep", "Train all runs of a study, or what is left of them."),
    "runs": ("runs", "List the runs under a folder, or compare two of them."),
    "models": ("models", "Print the models with their size, cost and accuracy."),
    "doctor": ("doctor", "Check a recipe before training: data, memory, time, disk."),
    "demo": ("demo", "Try a detector on your own images in a local web page."),
    "anchors": ("anchors", "Find dimension priors for a recipe from its boxes."),
    "export": ("export", "Write a detector to a file that runs without jaxdet."),
    "convert": ("convert", "Convert weights that were trained elsewhere."),
}

EXAMPLES = """\
examples:
  jaxdet train --config=quickstart --workdir=runs/quickstart
  jaxdet predict --workdir=runs/quickstart --input=photos --output=found

`jaxdet COMMAND --help` shows a command's flags, and the names of the recipes.
Exit status: 0 done, 2 a mistake in what was given, 75 told to stop and saved
(run it again), 130 interrupted.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that the arguments name, as `python -m jaxdet.NAME` would."""
    name, *arguments = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help", "help"):
        print(_listing())
        return 0
    if name == "--version":
        print(f"jaxdet {__version__}")
        return 0
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0)
        print(f"jaxdet: there is no command {name!r}; did you mean {near[0]}?", file=sys.stderr)
        return 2
    mode = ["--mode=eval"] if name == "eval" else []
    sys.argv = [f"jaxdet {name}", *mode, *arguments]
    try:
        runpy.run_module(f"jaxdet.{COMMANDS[name][0]}", run_name="__main__")
    except KeyboardInterrupt:  # before the command has taken over
        return 130
    return 0


def _listing() -> str:
    rows = [f"  {name:<9} {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join(["usage: jaxdet COMMAND [flags]", "", "commands:", *rows, "", EXAMPLES])


if __name__ == "__main__":
    sys.exit(main())
