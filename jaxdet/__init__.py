"""jaxdet: SSD and YOLO detectors, and their training, in JAX and Flax."""

import os
from typing import TYPE_CHECKING

from jaxdet.version import __version__

if TYPE_CHECKING:
    from jaxdet.engine.inference import Pretrained

__all__ = ["__version__", "load"]


def load(workdir: str | os.PathLike[str]) -> "Pretrained":
    """The detector of the newest checkpoint under `workdir`, which is called with an image.

    No recipe is needed. ValueError if there is no checkpoint. See `engine.inference.Pretrained`.
    """
    from jaxdet.engine import inference

    return inference.load(workdir)
