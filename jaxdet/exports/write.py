"""Writes a trained detector to a file that runs without this library."""

import importlib.util
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxdet import build
from jaxdet.choices import check_name
from jaxdet.engine import buckets, evaluate
from jaxdet.engine.inference import Predictor, Pretrained
from jaxdet.exports import contract, stablehlo
from jaxdet.types import Shape
from jaxdet.version import __version__

FORMATS = ("stablehlo", "onnx")
LIMITS = ("score_threshold", "iou_threshold", "max_kept")
_NEEDS = {"stablehlo": ("flatbuffers",), "onnx": ("jax2onnx", "onnx", "onnxsim", "onnxruntime")}


def export(
    pretrained: Predictor,
    file: str | os.PathLike[str],
    *,
    format: str,
    batch: int | None = None,
    nms: str = "inside",
    size: int | Shape | None = None,
    dtype: str | None = None,
) -> Path:
    """Writes a detector to `file`; docs/export.md says what every format takes and returns.

    Args:
      pretrained: what `jaxdet.load` returns.
      format: one of `FORMATS`.
      batch: the number of images, None for any.
      nms: "inside", or "none" for the boxes and scores before it.
      size: of the input, a side or (height, width); None is the recipe's.
      dtype: of the images, "uint8" or "float32", in 0..255; None is "float32" for StableHLO, which
        then gives the live detector's bits for images of any size, and else "uint8".

    ValueError for a format or size that the detector cannot have; ImportError, naming the extra, if
    the packages of a format are missing.
    """
    if not isinstance(pretrained, Pretrained):
        raise ValueError(f"{pretrained} is exported already; export a workdir")
    check_name(format, FORMATS, "format")
    check_name(nms, ("inside", "none"), "nms")
    dtype = dtype or ("float32" if format == "stablehlo" else "uint8")
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
    given = subject(pretrained, size, batch=batch, nms=nms, dtype=dtype)
    if format == "stablehlo":
        stablehlo.write(given, file, batch=batch, nms=nms, dtype=dtype)
    else:
        from jaxdet.exports import onnx  # its packages are an extra

        onnx.write(given, file, batch=batch, nms=nms, dtype=dtype)
    return file


def input_shape(pretrained: Pretrained, size: int | Shape | None) -> Shape:
    """Height and width of the input: `size`, a side or both, or the recipe's, of several inputs the
    widest."""
    if size is None:
        return max(buckets.input_shapes(pretrained.recipe), key=lambda shape: shape[1])
    return (size, size) if isinstance(size, int) else size


def subject(
    pretrained: Pretrained, size: int | Shape | None, *, batch: int | None, nms: str, dtype: str
) -> contract.Subject:
    """What is exported; ValueError for a size that the network cannot take."""
    recipe, shape = pretrained.recipe, input_shape(pretrained, size)
    pixels = jax.ShapeDtypeStruct((1, *shape, 3), jnp.float32)
    jax.eval_shape(recipe.detector.forward, pretrained.variables, pixels)
    about = _about(pretrained, shape, batch=batch, nms=nms, dtype=dtype)
    rule = about["nms"] if isinstance(about["nms"], dict) else {"name": about["nms"]}
    rule = contract.Rule(
        name=rule["name"],
        options={key: value for key, value in rule.items() if key != "name"},
        **{key: about[key] for key in ("candidates", *LIMITS)},
    )
    return contract.Subject(
        recipe.detector, jax.device_get(pretrained.variables), shape, rule, about
    )


def _about(
    pretrained: Pretrained, shape: Shape, *, batch: int | None, nms: str, dtype: str
) -> dict[str, Any]:
    """What travels inside the file: class names, input, thresholds, protocol, version."""
    recipe = pretrained.recipe
    evaluation = recipe.config["evaluation"]
    (family,) = build.names_of(recipe.config["model"]["detector"])
    return {
        "jaxdet": __version__,
        "purpose": recipe.purpose,
        "family": family,
        "step": pretrained.step,
        "classes": list(recipe.detector.classes),
        "input": {"height": shape[0], "width": shape[1], "dtype": dtype, "layout": "BHWC RGB"},
        "batch": batch,
        "canvas": _canvas(recipe, shape),
        "fit": recipe.config["model"]["fit"],
        "fill": list(recipe.detector.fill),
        "outputs": contract.programs(nms)[1],
        "nms": evaluation.get("nms", "greedy"),
        "candidates": evaluation.get("candidates", 0),
        **{key: getattr(recipe.evaluation, key) for key in LIMITS},
        "protocol": evaluate.protocol(recipe),
    }


def _canvas(recipe: build.Recipe, shape: Shape) -> Shape:
    """The canvas on which images of an input's shape are passed: the recipe's, or a larger one."""
    for canvas, each in zip(recipe.data.canvases, buckets.input_shapes(recipe), strict=True):
        if each == shape:
            return canvas
    return 2 * shape[0], 2 * shape[1]
