"""Stops a run on SIGTERM, which schedulers and preemptible machines send before they kill, and on
SIGINT, which is Ctrl-C."""

import signal
from typing import Any

import jax
import orbax.checkpoint as ocp
from tqdm import tqdm


class Preempted(Exception):
    """The run was told to stop; it is saved, and the same command resumes it."""


class Notice:
    """A context manager that notices when any process of the run is told to stop.

    Several processes agree on one step through JAX's coordination service, which listens for
    SIGTERM after `jax.distributed.initialize`. Only a single process has to listen itself. The
    first SIGINT counts as SIGTERM, the second raises KeyboardInterrupt.
    """

    def __init__(self):
        self._came = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Notice":
        handlers = {signal.SIGINT: self._interrupt}
        if jax.process_count() == 1:
            handlers[signal.SIGTERM] = self._note
        self._before = {number: signal.signal(number, how) for number, how in handlers.items()}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        self._came = True  # a second signal, while saving, changes nothing

    def _interrupt(self, number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        tqdm.write("saving after this step; Ctrl-C once more ends at once, without saving")
        signal.raise_signal(signal.SIGTERM)

    def reached(self, step: int) -> bool:
        """Whether to stop after `step`; every process must call this after every step."""
        return self._came or ocp.utils.reached_preemption(step)
