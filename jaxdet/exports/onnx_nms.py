"""NMS in ONNX's own operators, appended to a network that has the outputs boxes and scores."""

from typing import Any

import numpy as np

from jaxdet.exports import contract


def append_nms(graph: Any, rule: contract.Rule) -> None:
    """Replaces the outputs `CANDIDATES` of an ONNX graph by `DETECTIONS`, for any batch.

    Scores that NMS does not keep become zero, in a table [B, A x K] whose `max_kept` highest are
    the detections: TopK takes the lower index first where scores are equal, as ours do.
    """
    nodes = _Nodes(graph)
    boxes, scores = "boxes", nodes("Transpose", "scores", perm=[0, 2, 1])  # [B, K, A]
    if rule.options.get("best_class"):
        best = nodes("ArgMax", scores, axis=1, keepdims=1)  # [B, 1, A], the first of equal ones
        scores = _only(nodes, scores, best, axis=1)
    if rule.candidates:
        most = nodes("Min", nodes.of_shape(scores, 2), nodes.constant(np.int64([rule.candidates])))
        _, best = nodes.two("TopK", scores, most, axis=2)  # [B, K, candidates]
        scores = _only(nodes, scores, best, axis=2)
    if rule.name == "agnostic":
        labels = nodes("ArgMax", scores, axis=1, keepdims=0)  # [B, A]
        scores = nodes("ReduceMax", scores, axes=[1], keepdims=1)  # [B, 1, A]
    kept = nodes(
        "NonMaxSuppression",
        boxes,
        scores,
        nodes.constant(np.int64(rule.max_kept).reshape(1)),
        nodes.constant(np.float32(rule.iou_threshold).reshape(1)),
        nodes.constant(np.float32(rule.score_threshold).reshape(1)),
    )  # [n, 3] image, class, anchor
    turned = nodes.constant(np.int64([0, 2, 1]))
    at = nodes("Gather", kept, turned, axis=1)  # image, anchor, class
    shape = nodes("Gather", nodes("Shape", scores), turned, axis=0)  # B, A, K
    nothing = nodes("Expand", nodes.constant(np.float32(0)), shape)
    table = nodes("ScatterND", nothing, at, nodes("GatherND", scores, kept))  # [B, A, K]
    table = nodes("Flatten", table, axis=1)
    short = nodes("Sub", nodes.constant(np.int64([rule.max_kept])), nodes.last_of(table))
    pads = nodes(
        "Concat",
        nodes.constant(np.int64([0, 0, 0])),
        nodes("Max", short, nodes.constant(np.int64([0]))),
        axis=0,
    )
    table = nodes("Pad", table, pads)  # never fewer than max_kept
    best, place = nodes.two("TopK", table, nodes.constant(np.int64([rule.max_kept])), axis=1)
    classes = nodes.of_shape(scores, 1)
    anchor = nodes("Div", place, classes)
    valid = nodes("Greater", best, nodes.constant(np.float32(0)))
    last = nodes("Sub", nodes.of_shape(boxes, 1), nodes.constant(np.int64([1])))
    anchor = nodes("Min", anchor, last)  # padding's place is beyond them
    if rule.name == "agnostic":
        label = nodes("GatherElements", labels, anchor, axis=1)
    else:
        label = nodes("Mod", place, classes)
    _outputs(nodes, boxes, best, anchor, label, valid, rule.max_kept)


def _only(nodes: "_Nodes", scores: str, at: str, *, axis: int) -> str:
    """The scores with all but those at some indices of an axis at zero."""
    nothing = nodes("Mul", scores, nodes.constant(np.float32(0)))
    chosen = nodes("GatherElements", scores, at, axis=axis)
    return nodes("ScatterElements", nothing, at, chosen, axis=axis)


def _outputs(
    nodes: "_Nodes", boxes: str, best: str, anchor: str, label: str, valid: str, kept: int
) -> None:
    import onnx

    f32, i32, i64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT32, onnx.TensorProto.INT64
    count, boxes_out, scores_out, classes_out = contract.DETECTIONS
    wide = nodes("Cast", valid, to=i64)
    total = nodes("ReduceSum", wide, nodes.constant(np.int64([1])), keepdims=1)
    nodes("Cast", total, to=i32, out=count)
    index = nodes("Unsqueeze", anchor, nodes.constant(np.int64([2])))  # [B, M, 1]
    picked = nodes("GatherND", boxes, index, batch_dims=1)  # [B, M, 4]
    mask = nodes("Unsqueeze", nodes("Cast", valid, to=f32), nodes.constant(np.int64([2])))
    nodes("Mul", picked, mask, out=boxes_out)
    nodes("Identity", best, out=scores_out)
    nodes("Cast", nodes("Mul", label, wide), to=i32, out=classes_out)
    batch = nodes.graph.input[0].type.tensor_type.shape.dim[0]
    batch = batch.dim_param or batch.dim_value
    del nodes.graph.output[:]
    shapes = ((count, i32, [1]), (boxes_out, f32, [kept, 4]), (scores_out, f32, [kept]))
    for name, kind, rest in (*shapes, (classes_out, i32, [kept])):
        value = onnx.helper.make_tensor_value_info(name, kind, [batch, *rest])
        nodes.graph.output.append(value)


class _Nodes:
    """Appends nodes to a graph; a call returns the name of the new node's result."""

    def __init__(self, graph: Any):
        self.graph, self._count = graph, 0

    def __call__(self, kind: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        return self._node(kind, inputs, [out or self._name()], attributes)[0]

    def two(self, kind: str, *inputs: str, **attributes: Any) -> list[str]:
        """The names of a node's two results."""
        return self._node(kind, inputs, [self._name(), self._name()], attributes)

    def constant(self, value: np.ndarray) -> str:
        """The name of a constant."""
        import onnx

        name = self._name()
        self.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
        return name

    def of_shape(self, name: str, axis: int) -> str:
        """The length of an axis [1]."""
        return self("Gather", self("Shape", name), self.constant(np.int64([axis])), axis=0)

    def last_of(self, name: str) -> str:
        """The length of the last axis [1]."""
        return self.of_shape(name, -1)

    def _node(self, kind: str, inputs: Any, outputs: list[str], attributes: dict) -> list[str]:
        import onnx

        self.graph.node.append(onnx.helper.make_node(kind, list(inputs), outputs, **attributes))
        return outputs

    def _name(self) -> str:
        self._count += 1
        return f"nms_{self._count}"
