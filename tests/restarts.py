"""Trains in a process of its own and kills it, again and again; `test_crash.py` runs this.

    python tests/restarts.py KILLS SEED --config=... --workdir=... (as for jaxdet.main)

All imports happen here once. Every attempt is a fork of this process, made before JAX has looked
for devices, so that twenty attempts cost twenty trainings and not twenty imports.
"""

import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

from absl import flags

from jaxdet import cli
from jaxdet.engine import train
from jaxdet.training import logs


def main() -> None:
    kills, seed, *arguments = sys.argv[1:]
    flags.FLAGS(["restarts", *arguments])
    folder = Path(cli.WORKDIR.value)
    chance = random.Random(int(seed))
    for attempt in range(int(kills)):
        child = train_in_fork(folder)
        if attempt % 4:  # in the middle of steps and saves; else before there is any
            await_new_lines(folder, chance.randint(1, 8), child)
            time.sleep(chance.uniform(0, 0.2))
        else:
            time.sleep(chance.uniform(0, 2))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), f"attempt {attempt} ended by itself: {status}"
        print(f"killed at {lines(folder)} lines, {checkpoints(folder)}", flush=True)
    _, status = os.waitpid(train_in_fork(folder), 0)
    sys.exit(status)


def train_in_fork(folder: Path) -> int:
    """Starts the training that the flags describe; returns its process."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        train.train(cli.CONFIG.value, folder)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def await_new_lines(folder: Path, count: int, child: int) -> None:
    """Returns once the child, and not those before it, has logged `count` lines."""
    before = events(folder)
    while events(folder) == before:  # cuts the lines first, then opens a file of events
        check(child)
    known = lines(folder)
    while lines(folder) < known + count:
        check(child)


def check(child: int) -> None:
    assert os.waitpid(child, os.WNOHANG) == (0, 0), "a training ended before it was killed"
    time.sleep(0.005)


def events(folder: Path) -> int:
    return len(list((folder / logs.TENSORBOARD).glob("events*")))


def lines(folder: Path) -> int:
    file = folder / logs.METRICS
    return file.read_bytes().count(b"\n") if file.exists() else 0


def checkpoints(folder: Path) -> list[str]:
    found = (folder / "checkpoints").glob("*")
    return sorted(path.name for path in found)


if __name__ == "__main__":
    main()
