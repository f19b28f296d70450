"""jaxdet: SSD and YOLO detectors, and their training, in JAX and Flax."""

import os
from typing import TYPE_CHECKING, Any

from jaxdet.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from jaxdet.engine.inference import Predictor

__all__ = ["__version__", "export", "load"]


def load(workdir: str | os.PathLike[str]) -> "Predictor":
    """The detector of the newest checkpoint under `workdir`, which is called with an image.

    `workdir` can also be a file that `export` wrote. No recipe is needed. ValueError if there is no
    checkpoint, or if the file is something else. See `engine.inference.Predictor`.
    """
    if os.path.isfile(workdir):
        from jaxdet.exports import predictor

        return predictor.Exported(workdir)
    from jaxdet.engine import inference

    return inference.load(workdir)


def export(
    detector: "Predictor", file: str | os.PathLike[str], *, format: str, **options: Any
) -> "Path":
    """Writes a detector that `load` returned to a file that runs without jaxdet.

    `format` is "stablehlo" or "onnx"; see `exports.write.export` and docs/export.md.
    """
    from jaxdet.exports import write

    return write.export(detector, file, format=format, **options)
