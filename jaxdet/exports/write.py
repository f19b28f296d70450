"""Writes a trained detector to a file that runs without this library."""

import importlib.util
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxdet import build, data
from jaxdet.choices import check_name
from jaxdet.engine import buckets, evaluate
from jaxdet.engine.inference import Predictor, Pretrained
from jaxdet.exports import contract, tflite
from jaxdet.exports.predictor import Exported
from jaxdet.types import Shape
from jaxdet.version import __version__

FORMATS = ("stablehlo", "onnx", "tflite")
NMS = ("inside", "greedy", "none")
_NEEDS = {
    "stablehlo": ("flatbuffers",),
    "onnx": ("jax2onnx", "onnx", "onnxsim", "onnxruntime"),
    "tflite": ("litert_converter", "ai_edge_litert", "ai_edge_quantizer"),
}
_MOST_PHOTOS = 100  # of which the ranges of maps are taken


def export(
    pretrained: Predictor,
    file: str | os.PathLike[str],
    *,
    format: str,
    batch: int | None = None,
    nms: str | None = None,
    size: int | Shape | None = None,
    dtype: str | None = None,
    int8: str | os.PathLike[str] | None = None,
) -> Path:
    """Writes a detector to `file`; docs/export.md says what every format takes and returns.

    Args:
      pretrained: what `jaxdet.load` returns.
      format: one of `FORMATS`.
      batch: the number of images, None for any; TFLite's, which is fixed, is then 1.
      nms: "inside", the default; "greedy", also inside, class-wise instead of the recipe's rule; or
        "none" for the boxes and scores before it, which is all that TFLite has.
      size: of the input, a side or (height, width); None is the recipe's.
      dtype: of the images, "uint8" or "float32", in 0..255; None is "float32" for StableHLO, which
        then gives the live detector's bits for images of any size, and else "uint8".
      int8: TFLite only: a folder of images like those to come, to write a file in 8 bits.

    ValueError for a format or size that the detector cannot have; ImportError, naming the extra, if
    the packages of a format are missing.
    """
    if not isinstance(pretrained, Pretrained):
        raise ValueError(f"{pretrained} is exported already; export a workdir")
    check_name(format, FORMATS, "format")
    if int8 is not None and format != "tflite":
        raise ValueError(f"int8 is for format='tflite', not for {format!r}")
    nms = nms or ("none" if format == "tflite" else "inside")
    check_name(nms, NMS, "nms")
    dtype = dtype or ("float32" if format == "stablehlo" else "uint8")
    check_name(dtype, ("uint8", "float32"), "dtype")
    batch = 1 if batch is None and format == "tflite" else batch
    if batch is not None and batch < 1:
        raise ValueError(f"batch is {batch}, expected at least 1, or None for any")
    missing = [name for name in _NEEDS[format] if importlib.util.find_spec(name) is None]
    if missing:
        extra = "tflite" if format == "tflite" else "export"
        raise ImportError(
            f"--format={format} needs {', '.join(missing)}: pip install 'jaxdet[{extra}]'"
        )
    file = Path(file)
    if not file.parent.is_dir():
        raise ValueError(f"there is no folder {file.parent} for {file.name}")
    photos = _photos(Path(int8)) if int8 is not None else []
    given = subject(pretrained, size, batch=batch, nms=nms, dtype=dtype)
    writer = importlib.import_module(f"jaxdet.exports.{format}")  # its packages may be an extra
    writer.write(given, file, batch=batch, nms=nms, dtype=dtype)
    if photos:
        like = Exported(file)
        tflite.make_int8(file, [like.placed([data.read_image(path)] * batch) for path in photos])
    return file


def _photos(folder: Path) -> list[Path]:
    """At most `_MOST_PHOTOS` images of a folder, from all of it; ValueError if there is none."""
    images, _ = data.images_in(folder)
    if not images:
        raise ValueError(f"int8={folder} has no image")
    return images[:: -(-len(images) // _MOST_PHOTOS)]


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
    if nms == "greedy":
        recipe = build.with_evaluation(recipe, {"nms": "greedy"})
    about = _about(recipe, pretrained.step, shape, batch=batch, nms=nms, dtype=dtype)
    rule = about["nms"] if isinstance(about["nms"], dict) else {"name": about["nms"]}
    rule = contract.Rule(
        name=rule["name"],
        options={key: value for key, value in rule.items() if key != "name"},
        **{key: about[key] for key in ("candidates", *build.LIMITS)},
    )
    return contract.Subject(
        recipe.detector, jax.device_get(pretrained.variables), shape, rule, about
    )


def _about(
    recipe: build.Recipe, step: int, shape: Shape, *, batch: int | None, nms: str, dtype: str
) -> dict[str, Any]:
    """What travels inside the file: class names, input, thresholds, protocol, version."""
    evaluation = recipe.config["evaluation"]
    (family,) = build.names_of(recipe.config["model"]["detector"])
    return {
        "jaxdet": __version__,
        "purpose": recipe.purpose,
        "family": family,
        "step": step,
        "classes": list(recipe.detector.classes),
        "input": {"height": shape[0], "width": shape[1], "dtype": dtype, "layout": "BHWC RGB"},
        "batch": batch,
        "canvas": _canvas(recipe, shape),
        "fit": recipe.config["model"]["fit"],
        "fill": list(recipe.detector.fill),
        "outputs": contract.CANDIDATES if nms == "none" else contract.DETECTIONS,
        "nms": evaluation.get("nms", "greedy"),
        "candidates": evaluation.get("candidates", 0),
        **{key: getattr(recipe.evaluation, key) for key in build.LIMITS},
        "protocol": evaluate.protocol(recipe),
    }


def _canvas(recipe: build.Recipe, shape: Shape) -> Shape:
    """The canvas on which images of an input's shape are passed: the recipe's, or a larger one."""
    for canvas, each in zip(recipe.data.canvases, buckets.input_shapes(recipe), strict=True):
        if each == shape:
            return canvas
    return 2 * shape[0], 2 * shape[1]
