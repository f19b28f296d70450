"""Mends what jax2onnx breaks up: clipping, two activations, and pooling over four axes."""

from typing import Any


def clip(graph: Any) -> None:
    """Makes each Max and Min with constants a Clip, which runtimes merge with a convolution."""
    constants = {each.name for each in graph.initializer}
    for low in [node for node in graph.node if node.op_type == "Max"]:
        (after, *others) = _users(graph, low.output[0])
        bounds = [[n for n in node.input if n in constants] for node in (low, after)]
        if others or after.op_type != "Min" or [len(each) for each in bounds] != [1, 1]:
            continue
        (x,) = [name for name in low.input if name not in constants]
        after.op_type = "Clip"
        after.input[:] = [x, *(_scalar(graph, name) for (name,) in bounds)]
        graph.node.remove(low)


def hard_sigmoid(graph: Any) -> None:
    """Makes each min(max(x + 3, 0), 6) / 6, after `clip`, a HardSigmoid."""
    import onnx

    maker = {name: node for node in graph.node for name in node.output}
    values = {
        each.name: onnx.numpy_helper.to_array(each).ravel().tolist() for each in graph.initializer
    }
    for divided in [node for node in graph.node if node.op_type == "Div"]:
        clipped = maker.get(divided.input[0])
        if not clipped or clipped.op_type != "Clip":
            continue
        added = maker.get(clipped.input[0])
        numbers = [values.get(name) for name in (divided.input[1], *clipped.input[1:])]
        if not added or added.op_type != "Add" or numbers != [[6], [0], [6]]:
            continue
        x = [name for name in added.input if values.get(name) != [3]]
        if len(x) != 1:
            continue
        divided.op_type, divided.input[:] = "HardSigmoid", x
        slope = (onnx.helper.make_attribute(*each) for each in (("alpha", 1 / 6), ("beta", 0.5)))
        divided.attribute.extend(slope)
        for node in (clipped, added):
            if not _users(graph, node.output[0]):
                graph.node.remove(node)


def leaky(graph: Any) -> None:
    """Makes each maximum of x and a share of x a LeakyRelu."""
    import onnx

    maker = {name: node for node in graph.node for name in node.output}
    values = {each.name: each for each in graph.initializer}
    for most in [node for node in graph.node if node.op_type == "Max" and len(node.input) == 2]:
        x, scaled = most.input[0], maker.get(most.input[1])
        if not scaled or scaled.op_type != "Mul" or x not in scaled.input:
            continue
        share = [name for name in scaled.input if name in values]
        alpha = onnx.numpy_helper.to_array(values[share[0]]).ravel() if len(share) == 1 else ()
        if len(alpha) != 1 or not 0 < alpha[0] < 1:
            continue
        most.op_type, most.input[:] = "LeakyRelu", [x]
        most.attribute.append(onnx.helper.make_attribute("alpha", float(alpha[0])))
        if not _users(graph, scaled.output[0]):
            graph.node.remove(scaled)


def pool_maps(graph: Any) -> None:
    """Makes each maximum over windows [1, k, k, 1], which runtimes refuse, one over [k, k].

    jax2onnx writes Unsqueeze, Unsqueeze, MaxPool, Squeeze.
    """
    import onnx

    maker = {name: node for node in graph.node for name in node.output}
    pools = {node.output[0]: node for node in graph.node if _pools_four_axes(node)}
    turned, nodes = {}, []  # a list of its own, as inserting would move the graph's nodes
    for node in graph.node:
        if node.op_type == "Squeeze" and node.input[0] in pools:
            back = dict(inputs=[node.input[0]], outputs=[node.output[0]], perm=[0, 2, 3, 1])
            nodes.append(onnx.helper.make_node("Transpose", **back))
            continue
        if node.op_type == "MaxPool" and node.output[0] in pools:
            if node.input[0] not in pools:  # else it has channels first already
                before = maker[node.input[0]]
                while before.op_type == "Unsqueeze":
                    x, before = before.input[0], maker[before.input[0]]
                if x not in turned:
                    turned[x] = f"{x}_channels_first"
                    turn = dict(inputs=[x], outputs=[turned[x]], perm=[0, 3, 1, 2])
                    nodes.append(onnx.helper.make_node("Transpose", **turn))
                node.input[0] = turned[x]
            _pool_two_axes(node)
        nodes.append(node)
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]  # of shapes with the axes that pooling had


def _pools_four_axes(node: Any) -> bool:
    sides = [each.ints for each in node.attribute if each.name == "kernel_shape"]
    return node.op_type == "MaxPool" and len(sides[0]) == 4


def _pool_two_axes(node: Any) -> None:
    """Leaves the rows and columns of the settings [B, H, W, C] of a pool."""
    for each in node.attribute:
        if each.name in ("kernel_shape", "strides"):
            each.ints[:] = each.ints[1:3]
        elif each.name == "pads":
            each.ints[:] = [*each.ints[1:3], *each.ints[5:7]]


def _users(graph: Any, name: str) -> list[Any]:
    return [node for node in graph.node if name in node.input]


def _scalar(graph: Any, name: str) -> str:
    """The name of the constant `name` as a scalar, as Clip wants its bounds."""
    import onnx

    (given,) = [each for each in graph.initializer if each.name == name]
    value = onnx.numpy_helper.to_array(given)
    assert value.size == 1, f"{name} has {value.size} values"
    made = onnx.numpy_helper.from_array(value.reshape(()), f"{name}_scalar")
    if made.name not in {each.name for each in graph.initializer}:
        graph.initializer.append(made)
    return made.name
