"""The one place that knows which device a program is traced for.

Several operations have a form for each kind of device: what is fast on a CPU is slow on a TPU, and
the other way round. They ask `target()` while they are traced. `lowering_for` answers for another
device than the one at hand: to compile for a TPU on a CPU, to count operations, to export a model.
"""

import contextlib
import contextvars
from collections.abc import Iterator

import jax

TARGETS = ("cpu", "gpu", "tpu", "portable")

_chosen: contextvars.ContextVar[str | None] = contextvars.ContextVar("target", default=None)


def target() -> str:
    """The kind of device that what is being traced will run on, one of `TARGETS`.

    It is that of the innermost `lowering_for`, else JAX's default backend.
    """
    return _chosen.get() or jax.default_backend()


@contextlib.contextmanager
def lowering_for(kind: str) -> Iterator[None]:
    """What is traced in this context takes the forms for devices of `kind`.

    "portable" stands for the plainest forms: XLA's own convolutions and pooling, no loop whose end
    depends on the data. They have as many multiplications as the textbook says, compile fastest and
    run anywhere. ValueError for a kind that is none of `TARGETS`.

    JAX keeps the programs that it has compiled: a function that was jitted and called before, for
    the same shapes, is not traced again.
    """
    if kind not in TARGETS:
        raise ValueError(f"the target is {kind!r}, expected one of {', '.join(TARGETS)}")
    token = _chosen.set(kind)
    try:
        yield
    finally:
        _chosen.reset(token)
