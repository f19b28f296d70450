"""Mends what jax2onnx breaks up: clipping, leaky ReLUs, and pooling over four axes."""

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


def leaky(graph: Any) -> None:
    """Makes each choice between x and a share of x, where x is positive, a LeakyRelu."""
    import onnx

    maker = {name: node for node in graph.node for name in node.output}
    values = {each.name: each for each in graph.initializer}
    for where in [node for node in graph.node if node.op_type == "Where"]:
        greater, x, scaled = (maker.get(where.input[0]), where.input[1], maker.get(where.input[2]))
        if not greater or not scaled or (greater.op_type, scaled.op_type) != ("Greater", "Mul"):
            continue
        share = [name for name in scaled.input if name != x]
        if greater.input[0] != x or len(share) != 1 or share[0] not in values:
            continue
        zero, alpha = (
            onnx.numpy_helper.to_array(values[name]).ravel()
            for name in (greater.input[1], share[0])
        )
        if len(alpha) != 1 or zero.any():
            continue
        where.op_type, where.input[:] = "LeakyRelu", [x]
        where.attribute.append(onnx.helper.make_attribute("alpha", float(alpha[0])))
        for node in (greater, scaled):
            if not _users(graph, node.output[0]):
                graph.node.remove(node)


def pool_maps(graph: Any) -> None:
    """Makes each maximum over windows [1, k, k, 1], which runtimes refuse, one over [k, k].

    jax2onnx writes Unsqueeze, Unsqueeze, MaxPool, Squeeze.
    """
    import onnx

    maker = {name: node for node in graph.node for name in node.output}
    for pool in [node for node in graph.node if node.op_type == "MaxPool"]:
        settings = {each.name: each for each in pool.attribute}
        if len(settings["kernel_shape"].ints) != 4:
            continue
        first = maker[pool.input[0]]
        while maker[first.input[0]].op_type == "Unsqueeze":
            first = maker[first.input[0]]
        (last,) = _users(graph, pool.output[0])
        assert first.op_type == "Unsqueeze" and last.op_type == "Squeeze", "another form of pooling"
        x, y = first.input[0], last.output[0]
        turn = onnx.helper.make_node("Transpose", [x], [f"{y}_turned"], perm=[0, 3, 1, 2])
        back = onnx.helper.make_node("Transpose", [pool.output[0]], [y], perm=[0, 2, 3, 1])
        pool.input[0] = turn.output[0]
        for name in ("kernel_shape", "strides"):
            settings[name].ints[:] = settings[name].ints[1:3]
        if "pads" in settings:
            pads = settings["pads"].ints
            pads[:] = [*pads[1:3], *pads[5:7]]
        at = list(graph.node).index(pool)
        graph.node.insert(at + 1, back)
        graph.node.insert(at, turn)
        graph.node.remove(last)


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
