"""Opens an exported file of any format: a function from images to its outputs, and its facts."""

import dataclasses
import importlib.util
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxdet.exports import contract, stablehlo, tflite

Outputs = tuple[np.ndarray, ...]  # in the order of `contract.DETECTIONS` or `CANDIDATES`


@dataclasses.dataclass(frozen=True)
class Runner:
    """An opened file."""

    run: Callable[[np.ndarray], Outputs]  # images [B, H, W, 3] of the file's type
    about: Mapping[str, Any]  # what the file knows about itself, see docs/export.md


def open_file(file: str | os.PathLike[str]) -> Runner:
    """Opens a file of `jaxdet export`, whose format its content says.

    ValueError if it is none; ImportError, naming the extra, if the package that runs it is missing.
    """
    file = Path(file)
    if tflite.is_tflite(file):
        _check_package("ai_edge_litert", file, extra="tflite")
        return Runner(*tflite.runner(file))
    if zipfile.is_zipfile(file):
        run, about = stablehlo.runner(file)
        return Runner(lambda images: tuple(jax.device_get(run(images))), about)
    return _onnx(file)


def _onnx(file: Path) -> Runner:
    _check_package("onnxruntime", file, extra="export")
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    except Exception as error:  # it raises errors of its own, without a common class
        raise ValueError(f"{file} is no file of `jaxdet export`: {_first_line(error)}") from error
    about = session.get_modelmeta().custom_metadata_map
    if "jaxdet" not in about:
        raise ValueError(f"{file} is no file of `jaxdet export`: it does not say how it was made")
    names = [each.name for each in session.get_outputs()]
    return Runner(
        lambda images: tuple(session.run(names, {contract.INPUT: images})),
        {key: _value(text) for key, text in about.items()},
    )


def _check_package(name: str, file: Path, *, extra: str) -> None:
    if importlib.util.find_spec(name) is None:
        raise ImportError(f"{file} needs {name}: pip install 'jaxdet[{extra}]'")


def _value(text: str) -> Any:
    """A metadata entry: JSON, or the text itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
