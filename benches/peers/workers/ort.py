"""ONNX Runtime, CPU provider: the ONNX node, inputs and outputs bound to buffers that stay."""

import onnxruntime
from onnxruntime import InferenceSession, OrtValue, SessionOptions
from serve import THREADS, Refusal, serve

from cases import Numbers, places


def prepare(case, model):
    if case.case in ("train", "charlm"):
        raise Refusal("inference only")
    numbers = Numbers(case)
    options = SessionOptions()
    options.intra_op_num_threads = THREADS
    options.inter_op_num_threads = 1
    session = InferenceSession(model, options, providers=["CPUExecutionProvider"])
    x = OrtValue.ortvalue_from_numpy(numbers.x)
    y = OrtValue.ortvalue_from_shape_and_type([case.T, 1, case.B, case.H], "float32")
    # Two sets of states, which a step reads and writes in turn.
    states = [[OrtValue.ortvalue_from_numpy(state) for state in numbers.states] for _ in range(2)]
    bindings = []
    for before, after in (states, states[::-1]):
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", x)
        binding.bind_ortvalue_output("y", y)
        for name, value in zip(("h0", "c0"), before):
            binding.bind_ortvalue_input(name, value)
        for name, value in zip(("hn", "cn"), after):
            binding.bind_ortvalue_output(name, value)
        bindings.append(binding)
    turn = 0
    session.run_with_iobinding(bindings[0])

    def run():
        nonlocal turn
        session.run_with_iobinding(bindings[turn])
        if case.case == "step":
            turn ^= 1

    return run, {"y": places(y.numpy())}


serve(f"onnxruntime {onnxruntime.__version__}", prepare)
