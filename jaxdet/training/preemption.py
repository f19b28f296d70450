"""Stops a run on SIGTERM, which schedulers and preemptible machines send before they kill."""

import signal
from typing import Any

import jax
import orbax.checkpoint as ocp


class Preempted(Exception):
    """The run was told to stop; it is saved, and the same command resumes it."""


class Notice:
    """A context manager that notices when any process of the run is told to stop.

    Several processes agree on one step through JAX's coordination service, which listens for the
    signal after `jax.distributed.initialize`. Only a single process has to listen itself.
    """

    def __init__(self):
        self._came = False
        self._before: Any = None

    def __enter__(self) -> "Notice":
        if jax.process_count() == 1:
            self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        if jax.process_count() == 1:
            signal.signal(signal.SIGTERM, self._before)

    def _note(self, number: int, frame: object) -> None:
        self._came = True  # a second signal, while saving, changes nothing

    def reached(self, step: int) -> bool:
        """Whether to stop after `step`; every process must call this after every step."""
        return self._came or ocp.utils.reached_preemption(step)
