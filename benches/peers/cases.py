"""The grid, the FLOPs of a case, and the numbers that every rival computes with."""

from dataclasses import asdict, dataclass, replace

import numpy as np

GATES = {"lstm": 4, "gru": 3, "gru-after": 3, "rnn": 1}
VOCABULARY = 65
IFOG = "ifog"  # among the names of the rivals
KINDS = ("infer", "train", "step", "infer_b1", "charlm")


@dataclass(frozen=True)
class Case:
    """T steps of B rows; widths I of the input and H of the state.

    infer     a sequence in one call, from the same state each time
    infer_b1  the same with one row
    step      one row, one time step a call, the state carried from call to call
    train     forward, and BPTT to the gradients of weights, biases, inputs and initial states
    charlm    a training step of a character model of two layers, I = vocabulary
    """

    case: str
    cell: str
    B: int
    T: int
    I: int
    H: int
    threads: int = 1

    def fields(self):
        return asdict(self)

    def flops(self):
        """As `ifog bench` counts: 2·T·B·G·H·(I + H) forward, three times that with the backward pass. In a character
        model the one-hot products count nothing, and so the first layer has no input part at all."""
        rows, h = self.T * self.B, self.H
        if self.case == "charlm":
            return 3 * 2 * rows * (4 * h * h + 4 * h * 2 * h + h * self.I)
        forward = 2 * rows * GATES[self.cell] * h * (self.I + h)
        return 3 * forward if self.case == "train" else forward


def square(case, cell, b, t, h):
    return Case(case, cell, b, t, h, h)


def grid(threads):
    """All cases, in the order of KINDS."""
    others = [(cell, b, h) for cell in ("gru", "gru-after", "rnn") for b, h in ((32, 256), (64, 512))]
    cases = [square("infer", "lstm", b, 64, h) for h in (128, 256, 512, 1024) for b in (8, 32, 64, 128)]
    cases += [square("infer", cell, b, 64, h) for cell, b, h in others]
    cases += [square("train", "lstm", b, 64, h) for h in (128, 256, 512) for b in (16, 32, 64, 128)]
    cases += [square("train", "lstm", 64, 64, 1024)]
    cases += [square("train", cell, b, 64, h) for cell, b, h in others]
    cases += [square("step", "lstm", 1, 1, h) for h in (8, 16, 32, 64, 128, 256, 512)]
    cases += [square("step", "gru-after", 1, 1, h) for h in (64, 256, 512)]
    cases += [square("infer_b1", "lstm", 1, 256, h) for h in (16, 32, 64, 128, 256, 512, 1024)]
    cases += [square("infer_b1", "gru-after", 1, 256, h) for h in (64, 256, 512)]
    cases += [Case("charlm", "lstm", 50, 50, VOCABULARY, h) for h in (128, 256, 512)]
    return [replace(case, threads=threads) for case in cases]


def selection(threads):
    """A few cases that show most of what the grid shows."""
    cases = [square("infer", "lstm", b, 64, h) for b, h in ((8, 128), (32, 256), (64, 512))]
    cases += [square("infer", "gru-after", 32, 64, 256)]
    cases += [square("train", "lstm", b, 64, h) for b, h in ((32, 128), (64, 256))]
    cases += [square("step", "lstm", 1, 1, h) for h in (16, 64, 256)]
    cases += [square("infer_b1", "lstm", 1, 256, h) for h in (64, 256)]
    cases += [Case("charlm", "lstm", 50, 50, VOCABULARY, 128)]
    return [replace(case, threads=threads) for case in cases]


def smoke(threads):
    """Small cases of every kind and cell: does everything run, and agree?"""
    cases = [square("infer", cell, 4, 8, 32) for cell in GATES]
    cases += [square("train", cell, 4, 8, 32) for cell in GATES]
    cases += [square("step", "lstm", 1, 1, 32), square("infer_b1", "lstm", 1, 16, 32)]
    cases += [Case("charlm", "lstm", 50, 50, VOCABULARY, 16)]
    return [replace(case, threads=threads) for case in cases]


def uniform(shape, stream, scale=1.0):
    """Values in [-scale, scale), the same as in rust/src/lib.rs: a 32-bit integer hash (C. Wellons' lowbias32) of
    position and stream."""
    x = np.arange(np.prod(shape), dtype=np.uint32)
    x += np.uint32(stream * 0x9E3779B9 & 0xFFFFFFFF)
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x7FEB352D)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x846CA68B)
    x ^= x >> np.uint32(16)
    return (((x >> np.uint32(8)).astype(np.float32) / np.float32(1 << 23) - 1) * np.float32(scale)).reshape(shape)


class Numbers:
    """Weights as PyTorch lays them out (gates i, f, g, o or r, z, n), inputs, states and upstream gradients of a case."""

    def __init__(self, case):
        rows, scale = GATES[case.cell] * case.H, 1 / np.sqrt(np.float32(case.H))
        self.x = uniform((case.T, case.B, case.I), 1)
        self.w = uniform((rows, case.I), 2, scale)
        self.u = uniform((rows, case.H), 3, scale)
        self.b_ih = uniform(rows, 4, scale)
        self.b_hh = uniform(rows, 5, scale)
        self.states = [uniform((1, case.B, case.H), stream, 0.5) for stream in ((6, 7) if case.cell == "lstm" else (6,))]
        self.dy = uniform((case.T, case.B, case.H), 8)


def places(values):
    """What a worker shows of `[T, B, width]`: 64 values of it."""
    flat = np.asarray(values, dtype=np.float64).reshape(-1)
    return [flat[k * (flat.size - 1) // 63] for k in range(64)]
