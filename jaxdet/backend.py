"""The one place that knows which device a program is traced for.

Several operations have different forms for different devices: what is fast on a CPU is slow on a
TPU, and vice versa. They call `target()` while they are traced. `lowering_for` selects a device
other than the current one: to compile for a TPU on a CPU, count operations, export
a model or find out shapes.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import jax

TARGETS = ("cpu", "gpu", "tpu", "portable")

_chosen: contextvars.ContextVar[str | None] = contextvars.ContextVar("target", default=None)


def target() -> str:
    """The kind of device that the code being traced will run on, one of `TARGETS`.

    It is set by the innermost `lowering_for`; without one it is JAX's default backend.
    """
    return _chosen.get() or jax.default_backend()


@contextlib.contextmanager
def lowering_for(kind: str) -> Iterator[None]:
    """A context in which operations are traced in their forms for devices of `kind`.

    "portable" stands for the plainest forms: XLA's own convolutions and pooling, and no loops of
    data-dependent length. They use the textbook number of multiplications, compile fastest and run
    anywhere. ValueError for a kind that is not in `TARGETS`.

    JAX caches compiled programs: a jitted function that was already called with the same shapes is
    not traced again.
    """
    if kind not in TARGETS:
        raise ValueError(f"the target is {kind!r}, expected one of {', '.join(TARGETS)}")
    token = _chosen.set(kind)
    try:
        yield
    finally:
        _chosen.reset(token)


def per_image(function: Callable, *of_batch: Any) -> Any:
    """A function of one image, whose loops end when that image is done, for all of a batch.

    `of_batch` are its arguments, with a leading axis B, as the result has. On a CPU images follow
    one another, so that none waits for the slowest; elsewhere all are done at once.
    """
    if target() == "cpu":
        return jax.lax.map(lambda one: function(*one), of_batch)
    return jax.vmap(function)(*of_batch)
