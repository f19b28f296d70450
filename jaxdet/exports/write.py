"""Writes a trained detector to a file that runs without this library."""

import importlib.util
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxdet import build
from jaxdet.choices import check_name
from jaxdet.engine import evaluate
from jaxdet.engine.inference import Pretrained
from jaxdet.exports import contract, stablehlo
from jaxdet.types import Shape
from jaxdet.version import __version__

FORMATS = ("stablehlo", "onnx")
_NEEDS = {"stablehlo": ("flatbuffers",), "onnx": ("jax2onnx", "onnx", "onnxsim", "onnxruntime")}


def export(
    pretrained: Pretrained,
    file: str | os.PathLike[str],
    *,
    format: str,
    batch: int | None = None,
    nms: str = "inside",
    size: int | Shape | None = None,
    dtype: str = "uint8",
) -> Path:
    """Writes a detector to `file`; docs/export.md says what every format takes and returns.

    Args:
      pretrained: what `jaxdet.load` returns.
      format: one of `FORMATS`.
      batch: the number of images, None for any.
      nms: "inside", or "none" for the boxes and scores before it.
      size: of the input, a side or (height, width); None is the recipe's.
      dtype: of the images, "uint8" or "float32", in 0..255.

    ValueError for a format or size that the detector cannot have; ImportError, naming the extra, if
    the packages of a format are missing.
    """
    check_name(format, FORMATS, "format")
    check_name(nms, ("inside", "none"), "nms")
    check_name(dtype, ("uint8", "float32"), "dtype")
    if batch is not None and batch < 1:
        raise ValueError(f"batch is {batch}, expected at least 1, or None for any")
    missing = [name for name in _NEEDS[format] if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f"--format={format} needs {', '.join(missing)}: pip install 'jaxdet[export]'"
        )
    file = Path(file)
    if not file.parent.is_dir():
        raise ValueError(f"there is no folder {file.parent} for {file.name}")
    given = subject(pretrained, size, nms=nms, dtype=dtype)
    if format == "stablehlo":
        stablehlo.write(given, file, batch=batch, nms=nms, dtype=dtype)
    else:
        from jaxdet.exports import onnx  # its packages are an extra

        onnx.write(given, file, batch=batch, nms=nms, dtype=dtype)
    return file


def input_shape(pretrained: Pretrained, size: int | Shape | None) -> Shape:
    """Height and width of the input: the recipe's, or `size`, a side or both."""
    side = pretrained.detector.size if size is None else size
    return (side, side) if isinstance(side, int) else side


def subject(
    pretrained: Pretrained, size: int | Shape | None, *, nms: str, dtype: str
) -> contract.Subject:
    """What is exported; ValueError for a size that the network cannot take."""
    recipe, shape = pretrained.recipe, input_shape(pretrained, size)
    pixels = jax.ShapeDtypeStruct((1, *shape, 3), jnp.float32)
    jax.eval_shape(recipe.detector.forward, pretrained.variables, pixels)
    evaluation = recipe.evaluation
    (name,) = build.names_of(recipe.config["evaluation"].get("nms", "greedy"))
    limits = contract.Limits(
        name, evaluation.score_threshold, evaluation.iou_threshold, evaluation.max_kept
    )
    about = _about(pretrained, shape, nms=nms, dtype=dtype)
    return contract.Subject(
        recipe.detector, jax.device_get(pretrained.variables), shape, limits, about
    )


def _about(pretrained: Pretrained, shape: Shape, *, nms: str, dtype: str) -> dict[str, Any]:
    """What travels inside the file: class names, input, thresholds, protocol, version."""
    recipe = pretrained.recipe
    (family,) = build.names_of(recipe.config["model"]["detector"])
    (fit,) = build.names_of(recipe.config["model"]["fit"])
    return {
        "jaxdet": __version__,
        "purpose": recipe.purpose,
        "family": family,
        "step": pretrained.step,
        "classes": list(recipe.detector.classes),
        "input": {"height": shape[0], "width": shape[1], "dtype": dtype, "layout": "BHWC RGB"},
        "fit": fit,
        "fill": list(recipe.detector.fill),
        "nms": nms,
        "score_threshold": recipe.evaluation.score_threshold,
        "iou_threshold": recipe.evaluation.iou_threshold,
        "max_kept": recipe.evaluation.max_kept,
        "protocol": evaluate.protocol(recipe),
    }
