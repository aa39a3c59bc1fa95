"""PyTorch eager, oneDNN on: nn.LSTM, nn.GRU, nn.RNN; the cells for one step where they are faster.

Second argument: `cell` takes nn.LSTMCell and nn.GRUCell for `step`; `fused` takes the fused Adam for `charlm`.
"""

import sys

import torch
import torch.nn.functional as F
from serve import THREADS, Refusal, serve
from torch import nn

from cases import Numbers, places, uniform

VARIANT = sys.argv[2] if len(sys.argv) > 2 else ""
MODULES = {"lstm": nn.LSTM, "gru-after": nn.GRU, "rnn": nn.RNN}
CELLS = {"lstm": nn.LSTMCell, "gru-after": nn.GRUCell, "rnn": nn.RNNCell}


def prepare(case, _model):
    if {"cell": "step", "fused": "charlm"}.get(VARIANT, case.case) != case.case:
        raise Refusal("this variant is for another case")
    if case.cell not in MODULES:
        raise Refusal("no GRU that resets before")
    if case.case == "charlm":
        return char_lm(case)
    numbers = Numbers(case)
    module = (CELLS if VARIANT == "cell" else MODULES)[case.cell](case.I, case.H)
    values = (numbers.w, numbers.u, numbers.b_ih, numbers.b_hh)
    with torch.no_grad():
        for parameter, value in zip(module.parameters(), values, strict=True):
            parameter.copy_(torch.from_numpy(value))
    x = torch.from_numpy(numbers.x)
    states = [torch.from_numpy(state) for state in numbers.states]
    if case.case == "train":
        return train(module, x, states, torch.from_numpy(numbers.dy))
    if VARIANT == "cell":
        return step_of_cell(module, x[0], [state[0] for state in states])
    return infer(case, module, x, states)


def joined(states):
    """As the modules want them: a pair for an LSTM."""
    return tuple(states) if len(states) == 2 else states[0]


def infer(case, module, x, states):
    state = joined(states)

    @torch.inference_mode()
    def run():
        nonlocal state
        y, last = module(x, state)
        if case.case == "step":
            state = last
        return y

    return run, {"y": places(run())}


def step_of_cell(module, x, states):
    state = joined(states)

    @torch.inference_mode()
    def run():
        nonlocal state
        state = module(x, state)
        return state

    y = run()
    return run, {"y": places(y[0] if len(states) == 2 else y)}


def train(module, x, states, dy):
    leaves = [x, *states, *module.parameters()]
    for leaf in leaves:
        leaf.requires_grad_()

    def run():
        for leaf in leaves:
            leaf.grad = None
        y, _ = module(x, joined(states))
        y.backward(dy)

    run()
    w, u, b, _ = module.parameters()
    norms = [leaf.grad.double().norm().item() for leaf in (w, u, b, *states)]
    return run, {"dx": places(x.grad), "norms": norms}


class CharModel(nn.Module):
    def __init__(self, vocabulary, hidden):
        super().__init__()
        self.vocabulary = vocabulary
        self.lstm = nn.LSTM(vocabulary, hidden, 2)
        self.decoder = nn.Linear(hidden, vocabulary)

    def forward(self, symbols, state):
        y, state = self.lstm(F.one_hot(symbols, self.vocabulary).float(), state)
        return self.decoder(y), state


def char_lm(case):
    """One-hot, two layers, linear, softmax cross-entropy, clipped by global norm, Adam; the state is carried."""
    model = CharModel(case.I, case.H)
    adam = torch.optim.Adam(model.parameters(), lr=2e-3, fused=VARIANT == "fused")
    text = torch.from_numpy(((uniform((case.T + 1, case.B), 9) + 1) / 2 * case.I).astype("int64"))
    state = (torch.zeros(2, case.B, case.H), torch.zeros(2, case.B, case.H))

    def run():
        nonlocal state
        adam.zero_grad(set_to_none=True)
        logits, (h, c) = model(text[:-1], state)
        F.cross_entropy(logits.view(-1, case.I), text[1:].reshape(-1)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        adam.step()
        state = (h.detach(), c.detach())

    run()
    return run, {}


torch.set_num_threads(THREADS)
serve(f"torch {torch.__version__}", prepare)
