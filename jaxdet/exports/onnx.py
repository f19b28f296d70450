"""ONNX: the network by jax2onnx, tidied; then NMS by ONNX's own operators.

The network is traced in its portable forms; onnxsim folds constants and BatchNorm, and ONNX Runtime
cancels changes of layout, both with standard operators.
"""

import contextlib
import json
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from jaxdet import backend
from jaxdet.detectors.two_stage import TwoStage
from jaxdet.exports import contract, onnx_tidy
from jaxdet.exports.onnx_nms import append_nms

OPSET = 17


def write(
    subject: contract.Subject, file: Path, *, batch: int | None, nms: str, dtype: str
) -> None:
    """Writes a detector; `batch` None is any number of images."""
    import onnx

    made = model(subject, batch=batch, nms=nms, dtype=dtype)
    onnx.save(made, str(file))


def model(subject: contract.Subject, *, batch: int | None, nms: str, dtype: str) -> Any:
    """The `onnx.ModelProto` of a detector; `batch` None is any number of images.

    ValueError for a detector that cannot be exported in this way.
    """
    if isinstance(subject.detector, TwoStage):
        raise ValueError(
            "a detector with two stages chooses its proposals by NMS, a loop that jax2onnx cannot "
            "write; --format=stablehlo can"
        )
    if nms != "none":
        contract.check_nms(subject.rule.name, ("greedy", "agnostic"), "ONNX")
    found = _tidy(_network(subject, batch))
    _take(found, dtype)
    if nms != "none":
        append_nms(found.graph, subject.rule)
    found = _without_transposes(found)
    del found.metadata_props[:]  # onnxsim writes what it removed, which can be long
    for key, value in subject.about.items():
        entry = found.metadata_props.add()
        entry.key, entry.value = key, value if isinstance(value, str) else json.dumps(value)
    found.producer_name, found.producer_version = "jaxdet", subject.about["jaxdet"]
    return found


def _network(subject: contract.Subject, batch: int | None) -> Any:
    """The network and its decoding: images float32 -> boxes in pixels, scores."""
    import jax2onnx

    def run(images: jax.Array) -> tuple[jax.Array, ...]:
        return contract.candidates(subject.detector, subject.variables, images)

    shape = ("B" if batch is None else batch, *subject.shape, 3)
    with backend.lowering_for("portable"), _quiet():
        return jax2onnx.to_onnx(
            run,
            inputs=[shape],
            opset=OPSET,
            input_names=[contract.INPUT],
            output_names=list(contract.CANDIDATES),
        )


def _tidy(found: Any) -> Any:
    """The same model with constants folded, and ONNX's own pooling and clipping."""
    import onnxsim

    found, same = onnxsim.simplify(found)
    assert same, "onnxsim changed the numbers"
    onnx_tidy.pool_maps(found.graph)
    onnx_tidy.clip(found.graph)
    onnx_tidy.hard_sigmoid(found.graph)
    onnx_tidy.leaky(found.graph)
    return found


def _take(found: Any, dtype: str) -> None:
    """Makes the model take images of `dtype`."""
    import onnx

    if dtype == "float32":
        return
    graph = found.graph
    (given,) = graph.input
    given.type.tensor_type.elem_type = onnx.TensorProto.UINT8
    for node in graph.node:
        node.input[:] = ["pixels" if name == contract.INPUT else name for name in node.input]
    cast = onnx.helper.make_node("Cast", [contract.INPUT], ["pixels"], to=onnx.TensorProto.FLOAT)
    graph.node.insert(0, cast)


def _without_transposes(found: Any) -> Any:
    """As ONNX Runtime rewrites it with standard operators alone: most changes of layout cancel."""
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "model.onnx")
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = file
        options.log_severity_level = 3
        onnxruntime.InferenceSession(
            found.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        found = onnx.load(file)
    onnx.checker.check_model(found)
    return found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """A context without the warnings of jax2onnx's library about shapes that have no type."""
    log = logging.getLogger("onnx_ir")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
