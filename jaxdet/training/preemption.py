"""Being told to stop: SIGTERM, which schedulers and preemptible machines send before they kill."""

import signal
from typing import Any

import jax
import orbax.checkpoint as ocp


class Preempted(Exception):
    """The run was told to stop; it is saved, and the same command goes on from there."""


class Notice:
    """Whether this run, any process of it, was told to stop; a context manager.

    Several processes agree on one step through JAX's coordination service, which listens for the
    signal from `jax.distributed.initialize` on. Only a lone process has to listen itself.
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
        """Whether to stop after `step`; every process must ask, after every step."""
        return self._came or ocp.utils.reached_preemption(step)
