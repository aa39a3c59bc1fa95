"""Who is measured: worker processes of the rivals, and ifog through its own commands."""

import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from statistics import median

from cases import VOCABULARY, Case, uniform
from onnx_model import write

HERE = Path(__file__).resolve().parent
PR_SET_PDEATHSIG = 1
LONGEST_ANSWER_S = 180


def commands(peers, python):
    """Command of each rival that is installed; the number of threads is appended, then the variant."""
    rust = peers / "rust-target" / "release"
    workers = {
        "pytorch": ([python, HERE / "workers/pytorch.py"], ""),
        "pytorch-cell": ([python, HERE / "workers/pytorch.py"], "cell"),
        "pytorch-fused": ([python, HERE / "workers/pytorch.py"], "fused"),
        "onnxruntime": ([python, HERE / "workers/ort.py"], ""),
        "openvino": ([python, HERE / "workers/openvino_cpu.py"], ""),
        "jax": ([python, HERE / "workers/jax_xla.py"], ""),
        "onednn": ([peers / "peer-onednn"], ""),
        "rtneural": ([peers / "peer-rtneural"], ""),
        "rtneural-xsimd": ([peers / "peer-rtneural-xsimd"], ""),
        "rten": ([rust / "peer-rten"], ""),
        "tract": ([rust / "peer-tract"], ""),
        "candle": ([rust / "peer-candle"], ""),
        "burn": ([rust / "peer-burn"], "flex"),
        "burn-ndarray": ([rust / "peer-burn"], "ndarray"),
        "rust-lstm": ([rust / "peer-rust-lstm"], ""),
    }
    return {name: entry for name, entry in workers.items() if all(Path(part).exists() for part in entry[0])}


class Refused(Exception):
    """A rival does not offer what a case asks for; the text says why."""


class Failed(Exception):
    """A rival could not do a case that it should; the text says why."""


def confined(cores):
    """To run in a child before its program: these cores only, and no life after run.py."""

    def apply():
        os.sched_setaffinity(0, cores)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    return apply


def ticks(process):
    """Processor time of each thread so far."""
    of = {}
    for task in Path(f"/proc/{process.pid}/task").glob("*"):
        with suppress(OSError):  # it has ended meanwhile
            fields = (task / "stat").read_text().rpartition(")")[2].split()
            of[int(task.name)] = int(fields[11]) + int(fields[12])
    return of


def place(thread, cores):
    with suppress(OSError):  # it has ended meanwhile
        os.sched_setaffinity(thread, cores)


def release(process, cores):
    """Lets every thread run on all of `cores`; new threads inherit that."""
    before = ticks(process)
    for thread in before:
        place(thread, cores)
    return before


def spread(process, cores, before):
    """Gives each of the threads that computed since `before` a core of its own: left alone they sometimes share one. The
    others may run anywhere: one that is about to compute again must not be held where it was."""
    after = ticks(process)
    if len(cores) > 1:
        busiest = sorted(after, key=lambda thread: before.get(thread, 0) - after[thread])[: len(cores)]
        for thread, core in zip(sorted(busiest), sorted(cores)):
            place(thread, {core})
        for thread in set(after) - set(busiest):
            place(thread, cores)
    return after


class Worker:
    """A rival's process. It is stopped unless it is asked something, so that its threads disturb nobody."""

    def __init__(self, name, entry, cores, models, log):
        self.name, self.models, self.cores = name, models, cores
        command, variant = entry
        threads = str(len(cores))
        environment = os.environ | {
            "OMP_NUM_THREADS": threads,
            "RAYON_NUM_THREADS": threads,
            "RTEN_NUM_THREADS": threads,
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(HERE),
        }
        self.process = subprocess.Popen(
            [*map(str, command), threads, variant],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            preexec_fn=confined(cores),
        )
        self.version = self.answer()["version"]
        self.process.send_signal(signal.SIGSTOP)

    def prepare(self, case):
        """Builds the case and returns the probe of its result."""
        before = release(self.process, self.cores)
        model = "" if case.case == "charlm" else str(write(case, self.models))
        begin = time.monotonic()
        answer = self.ask({"do": "prepare", "model": model, **case.fields()})
        if "skip" in answer:
            raise Refused(answer["skip"])
        if time.monotonic() - begin < SLOW_S:  # what is slower is warm now
            self.ask({"do": "measure", "seconds": WARM_UP_S})
        spread(self.process, self.cores, before)
        return answer["probe"]

    def measure(self, seconds):
        answer = self.ask({"do": "measure", "seconds": seconds})
        if not {"ms", "ms_min"} <= answer.keys():
            raise Failed(f"measured {answer}")
        return answer

    def ask(self, request):
        self.process.send_signal(signal.SIGCONT)
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # answer() tells how it ended
        answer = self.answer()
        self.process.send_signal(signal.SIGSTOP)
        return answer

    def answer(self):
        readable, _, _ = select.select([self.process.stdout], [], [], LONGEST_ANSWER_S)
        line = self.process.stdout.readline() if readable else b""
        if not line:
            self.close()
            ended = f"ended with status {self.process.returncode}" if readable else "did not answer in time"
            raise Failed(f"{ended}; what it printed is above")
        try:
            return json.loads(line)
        except ValueError:
            self.close()
            raise Failed(f"answered {line[:80]!r}") from None

    def alive(self):
        return self.process.poll() is None

    def close(self):
        self.process.kill()
        self.process.wait()


class Ifog:
    """`ifog bench`, which checks its result itself before it times it, and `ifog train` for the character model."""

    def __init__(self, binary, cores, log):
        self.binary, self.cores, self.log = str(binary), cores, log
        self.case, self.step_ms, self.peak = None, None, None
        self.version = self.output("--version").strip()
        self.folder = Path(tempfile.mkdtemp(prefix="ifog-peers-"))
        symbols = ((uniform(CORPUS, 9) + 1) / 2 * VOCABULARY).astype("uint8") + ord("!")
        (self.folder / "corpus.txt").write_bytes(symbols.tobytes())

    def prepare(self, case):
        self.case = case
        if case.case == "charlm":
            self.step_ms = self.train(FEWEST_STEPS)["ms"]
        return {}

    def measure(self, seconds):
        """`ifog bench` takes half a second of samples of 50 ms, or three calls, whatever is asked for."""
        if self.case.case != "charlm":
            return self.bench(self.case)
        return self.train(max(FEWEST_STEPS, round(seconds * 1e3 / self.step_ms)))

    def bench(self, case):
        kind = "infer" if case.case == "infer_b1" else case.case
        shape = ("--batch", case.B, "--hidden", case.H, "--steps", case.T, "--threads", case.threads)
        row = json.loads(self.output("bench", "--cell", case.cell, "--pass", kind, *shape, "--json").splitlines()[-1])
        return {key: row[key] for key in ("ms", "ms_min", "roofline_ms", "isa")}

    def train(self, steps):
        """Whole steps of `ifog train`, without what it does between them: validation, saving, writing down."""
        case = self.case
        if self.peak is None:  # GFLOP/s; a large product is bound by nothing else
            large = Case("infer", "lstm", 64, 64, 512, 512, case.threads)
            self.peak = large.flops() / self.bench(large)["roofline_ms"] / 1e6
        run = ("--hidden", case.H, "--steps", steps, "--val", 0.02, "--threads", case.threads)
        out = ("--json", "--no-samples", "--no-report", "-q", "--out", self.folder / "run", "--overwrite")
        row = json.loads(self.output("train", self.folder / "corpus.txt", *run, *out))
        times = step_times((self.folder / "run/metrics.jsonl").read_text(), case.B * case.T)[COLD_STEPS:]
        limit = case.flops() / self.peak / 1e6
        return {"ms": median(times), "ms_min": min(times), "roofline_ms": limit, "isa": row["isa"]}

    def output(self, *arguments):
        command = [self.binary, *map(str, arguments)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.log, text=True, preexec_fn=confined(self.cores)
        )
        before = {}
        while True:
            try:
                out, _ = process.communicate(timeout=LOOK_S if len(self.cores) > 1 else None)
                break
            except subprocess.TimeoutExpired:
                before = spread(process, self.cores, before)
        if process.returncode:
            raise Failed(f"{' '.join(command)}: exit status {process.returncode}; what it printed is above")
        return out

    def alive(self):
        return True

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)


def step_times(metrics, characters):
    """Milliseconds of each step of a run: metrics.jsonl has the mean speed of the steps so far."""
    lines = [json.loads(line) for line in metrics.splitlines()]
    ends = [0.0] + [line["step"] * characters / line["chars_per_s"] * 1e3 for line in lines if "chars_per_s" in line]
    return [end - begin for begin, end in pairwise(ends)]


WARM_UP_S = 0.1
SLOW_S = 1
LOOK_S = 0.1
COLD_STEPS = 2
FEWEST_STEPS = COLD_STEPS + 4
CORPUS = 200_000  # symbols
