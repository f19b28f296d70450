"""jaxdet: SSD and YOLO detectors, and their training, in JAX and Flax."""

from typing import Any

from jaxdet.version import __version__

__all__ = ["__version__", "load"]


def load(workdir: Any) -> Any:
    """The detector of the newest checkpoint under `workdir`; see `jaxdet.engine.inference.load`."""
    from jaxdet.engine import inference

    return inference.load(workdir)
