"""A case as an ONNX file of one LSTM, GRU or RNN node: states in and out, steps and rows free."""

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper, save

from cases import Numbers

# Where PyTorch keeps the gate that ONNX has at this place: i, o, f, c of i, f, g, o; z, r, h of r, z, n.
GATES_OF_TORCH = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "gru-after": (1, 0, 2), "rnn": (0,)}


def write(case, folder):
    """The file of this cell and these widths; it is kept, since it holds nothing else of the case."""
    path = folder / f"{case.cell}-{case.I}-{case.H}.onnx"
    if path.exists():
        return path
    numbers, order = Numbers(case), GATES_OF_TORCH[case.cell]

    def gates(values):
        parts = np.split(values, len(order))
        return np.concatenate([parts[gate] for gate in order])[None]

    biases = np.concatenate([gates(numbers.b_ih), gates(numbers.b_hh)], axis=1)
    constants = {"W": gates(numbers.w), "R": gates(numbers.u), "Bias": biases}
    states = [("h0", "hn"), ("c0", "cn")][: len(numbers.states)]
    inputs, outputs = [before for before, _ in states], [after for _, after in states]
    after = {"linear_before_reset": 1} if case.cell == "gru-after" else {}
    node = helper.make_node(
        case.cell.removesuffix("-after").upper(),
        ["x", *constants, "", *inputs],
        ["y", *outputs],
        hidden_size=case.H,
        **after,
    )

    def value(name, shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        [node],
        case.cell,
        [value("x", ["T", "B", case.I])] + [value(name, [1, "B", case.H]) for name in inputs],
        [value("y", ["T", 1, "B", case.H])] + [value(name, [1, "B", case.H]) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    checker.check_model(model)
    folder.mkdir(parents=True, exist_ok=True)
    save(model, path)
    return path
