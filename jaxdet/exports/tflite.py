"""TFLite: boxes and scores before NMS, for LiteRT on phones and small computers; no TensorFlow.

The network is traced in its portable forms and converted from StableHLO by litert-converter. What
the file knows about itself is a zip with `about.json` at its end, where TFLite's own tools keep
such files too: runtimes ignore it, and every zip program reads it.
"""

import contextlib
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export

from jaxdet import backend
from jaxdet.detectors.two_stage import TwoStage
from jaxdet.exports import contract
from jaxdet.exports.stablehlo import ABOUT

SIGNATURE = "serving_default"
_INT8 = (  # operations in 8 bits; what decodes boxes and scores stays float32
    *("CONV_2D", "DEPTHWISE_CONV_2D", "MAX_POOL_2D", "AVERAGE_POOL_2D", "PAD", "ADD"),
    *("CONCATENATION", "RESIZE_NEAREST_NEIGHBOR"),
)
_PARTS = ".*/(backbone|neck|head)/.*"  # names of the operations of a network


def write(subject: contract.Subject, file: Path, *, batch: int, nms: str, dtype: str) -> None:
    """Writes a detector for batches of `batch` images.

    ValueError for a detector that cannot be exported in this way.
    """
    if nms != "none":
        contract.check_nms(subject.rule.name, (), "TFLite")
    if isinstance(subject.detector, TwoStage):
        raise ValueError(
            "a detector with two stages chooses its proposals by NMS, which TFLite has no operator "
            "for; --format=stablehlo can"
        )
    _save(file, _converted(subject, batch, dtype), subject.about)


def make_int8(file: Path, photos: Sequence[np.ndarray]) -> None:
    """Makes a file have weights and maps of 8 bits, in the ranges that the maps have on `photos`.

    Each of them is a batch as the file takes it. Boxes and scores are still decoded in float32.
    """
    from ai_edge_quantizer import qtyping, quantizer

    _, about = runner(file)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        quantised = quantizer.Quantizer(str(file))
        for name in _INT8:
            operation = qtyping.TFLOperationName(name)
            quantised.add_static_config(_PARTS, operation, activation_num_bits=8, weight_num_bits=8)
        seen = {SIGNATURE: [{contract.INPUT: images} for images in photos]}
        ranges = quantised.calibrate(seen, num_threads=os.cpu_count() or 1)
        made = Path(folder) / "int8.tflite"
        quantised.quantize(ranges).export_model(str(made))
        _save(file, made.read_bytes(), {**about, "int8": len(photos)})


def _save(file: Path, model: bytes, about: Mapping[str, Any]) -> None:
    file.write_bytes(model)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(ABOUT, json.dumps(about, indent=1))


def runner(file: Path) -> tuple[Callable[[np.ndarray], tuple[np.ndarray, ...]], dict[str, Any]]:
    """A function from images to `contract.CANDIDATES`, and what the file knows about itself."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        with zipfile.ZipFile(file) as archive:
            about = json.loads(archive.read(ABOUT))
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(f"{file} is no file of `jaxdet export`: {error}") from error
    interpreter = Interpreter(str(file), num_threads=os.cpu_count())
    interpreter.allocate_tensors()
    call = interpreter.get_signature_runner(SIGNATURE)

    def run(images: np.ndarray) -> tuple[np.ndarray, ...]:
        found = call(**{contract.INPUT: images})
        return tuple(found[name] for name in contract.CANDIDATES)

    return run, about


def is_tflite(file: Path) -> bool:
    """Whether a file begins as TFLite's do."""
    with file.open("rb") as stream:
        return stream.read(8)[4:] == b"TFL3"


def _converted(subject: contract.Subject, batch: int, dtype: str) -> bytes:
    from litert_converter import converter_api_ext as litert
    from litert_converter.mlir import ir, passmanager

    def run(images: jax.Array) -> tuple[jax.Array, ...]:
        return contract.candidates(subject.detector, subject.variables, images)

    images = jax.ShapeDtypeStruct((batch, *subject.shape, 3), jnp.dtype(dtype))
    with backend.lowering_for("portable"):
        made = jax_export.export(jax.jit(run), platforms=["cpu"])(images)
    context = ir.Context()
    litert.prepare_mlir_context(context)
    with context:
        module = ir.Module.parse(made.mlir_module())
        names = [contract.INPUT], list(contract.CANDIDATES)
        litert.set_signature(module.operation, SIGNATURE, *names)
        passes = passmanager.PassManager()
        litert.run_convert_to_tfl_passes(module, passes, litert.ConvertToTFLConfig())
        return litert.export_flatbuffer_to_bytes(module.operation)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """A context without what the quantizer prints."""
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
        yield
