"""What the Python rivals share: the protocol with run.py and the clock (rust/src/lib.rs is the same in Rust).

A worker reads a request a line and answers a line, all JSON. `prepare` builds a case and returns a probe of its result,
which run.py compares between rivals; `measure` times the prepared case.
"""

import json
import os
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from cases import Case  # noqa: E402

SAMPLE_S = 0.01  # long against the clock's resolution, short against the machine's disturbances
THREADS = int(sys.argv[1]) if len(sys.argv) > 1 else 1


class Refusal(Exception):
    """Why a rival cannot run a case."""


def serve(version, prepare):
    """Answers until the input ends. `prepare(case, onnx_file)` returns a function to time and a probe."""
    # What a library prints must not end up between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**values):
        print(json.dumps(values), file=answers, flush=True)

    answer(version=version)
    run = None
    for line in sys.stdin:
        request = json.loads(line)
        if request.pop("do") == "measure":
            ms, ms_min = measure(request["seconds"], run)
            answer(ms=ms, ms_min=ms_min)
            continue
        run = None  # before the next case takes its memory
        model = request.pop("model")
        try:
            run, probe = prepare(Case(**request), model)
            answer(probe=probe)
        except Refusal as refusal:
            answer(skip=str(refusal))


def measure(seconds, run):
    """Milliseconds of a call: median and least over samples of at least SAMPLE_S, for about `seconds`."""

    def sample(calls):
        begin = time.perf_counter()
        for _ in range(calls):
            run()
        return time.perf_counter() - begin

    begin = time.perf_counter()
    calls = 1
    samples = [sample(calls)]
    while samples[0] < SAMPLE_S:
        calls *= 2
        samples = [sample(calls)]
    while time.perf_counter() - begin < seconds:
        samples.append(sample(calls))
    return statistics.median(samples) / calls * 1e3, min(samples) / calls * 1e3
