"""OpenVINO, CPU device: the ONNX node with fixed shapes, f32 asked for, one synchronous request."""

import openvino
from serve import THREADS, Refusal, serve

from cases import Numbers, places

core = openvino.Core()
SETTINGS = {
    "INFERENCE_NUM_THREADS": THREADS,
    "PERFORMANCE_HINT": "LATENCY",
    "INFERENCE_PRECISION_HINT": "f32",  # its own choice on this class of machine is bf16
    "ENABLE_CPU_PINNING": False,  # run.py pins every rival alike
}


def prepare(case, model):
    if case.case in ("train", "charlm"):
        raise Refusal("inference only")
    numbers = Numbers(case)
    inputs = {"x": numbers.x} | dict(zip(("h0", "c0"), numbers.states))
    model = core.read_model(model)
    model.reshape({name: list(value.shape) for name, value in inputs.items()})
    request = core.compile_model(model, "CPU", SETTINGS).create_infer_request()
    for name, value in inputs.items():
        request.set_tensor(name, openvino.Tensor(value.copy()))
    request.infer()
    probe = {"y": places(request.get_tensor("y").data)}
    if case.case != "step":
        return request.infer, probe
    # Two sets of states, which a step reads and writes in turn.
    pairs = [("h0", "hn"), ("c0", "cn")][: len(numbers.states)]
    states = [[openvino.Tensor(state.copy()) for _ in range(2)] for state in numbers.states]
    turn = 0

    def run():
        nonlocal turn
        for (before, after), state in zip(pairs, states):
            request.set_tensor(before, state[turn])
            request.set_tensor(after, state[1 - turn])
        turn ^= 1
        request.infer()

    return run, probe


serve(f"openvino {openvino.__version__.split('-')[0]}", prepare)
