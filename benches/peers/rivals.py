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
from pathlib import Path

from cases import VOCABULARY, Case, uniform
from onnx_model import write

HERE = Path(__file__).resolve().parent
PR_SET_PDEATHSIG = 1
LONGEST_ANSWER_S = 900


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
        before = self.pin(self.cores)
        model = "" if case.case == "charlm" else str(write(case, self.models))
        begin = time.monotonic()
        answer = self.ask({"do": "prepare", "model": model, **case.fields()})
        if "skip" in answer:
            raise Refused(answer["skip"])
        if time.monotonic() - begin < SLOW_S:  # what is slower is warm now
            self.ask({"do": "measure", "seconds": WARM_UP_S})
        self.spread(before)
        return answer["probe"]

    def measure(self, seconds):
        return self.ask({"do": "measure", "seconds": seconds})

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
            ended = f"ended with status {self.process.returncode}" if readable else "took too long"
            raise Failed(f"{self.name} {ended}; its messages are in the log")
        return json.loads(line)

    def alive(self):
        return self.process.poll() is None

    def pin(self, cores):
        """Lets every thread run on all of `cores`, and returns how long each has run, in ticks."""
        ticks = {}
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            fields = (task / "stat").read_text().rpartition(")")[2].split()
            ticks[int(task.name)] = int(fields[11]) + int(fields[12])
            os.sched_setaffinity(int(task.name), cores)
        return ticks

    def spread(self, before):
        """Gives each of the threads that compute a core of its own: left alone they sometimes share one."""
        if len(self.cores) == 1:
            return
        after = self.pin(self.cores)
        busy = sorted(after, key=lambda thread: before.get(thread, 0) - after[thread])[: len(self.cores)]
        for thread, core in zip(busy, sorted(self.cores)):
            os.sched_setaffinity(thread, {core})

    def close(self):
        self.process.kill()
        self.process.wait()


class Ifog:
    """`ifog bench`, which checks its result itself before it times it, and `ifog train` for the character model."""

    def __init__(self, binary, cores, log):
        self.binary, self.cores, self.log = str(binary), cores, log
        self.case, self.steps, self.peak = None, SHORT_TRAINING, None
        self.version = self.output("--version").strip()
        self.folder = Path(tempfile.mkdtemp(prefix="ifog-peers-"))
        symbols = ((uniform(CORPUS, 9) + 1) / 2 * VOCABULARY).astype("uint8") + ord("!")
        (self.folder / "corpus.txt").write_bytes(symbols.tobytes())

    def prepare(self, case):
        self.case, self.steps = case, SHORT_TRAINING
        if case.case == "charlm":
            # The first run is short and tells how many steps a measurement takes.
            ms = self.train()["ms"]
            self.steps = max(SHORT_TRAINING, round(LONG_TRAINING_S * 1e3 / ms))
        return {}

    def measure(self, _seconds):
        return self.train() if self.case.case == "charlm" else self.bench(self.case)

    def bench(self, case):
        kind = "infer" if case.case == "infer_b1" else case.case
        shape = ("--batch", case.B, "--hidden", case.H, "--steps", case.T, "--threads", case.threads)
        row = json.loads(self.output("bench", "--cell", case.cell, "--pass", kind, *shape, "--json").splitlines()[-1])
        return {key: row[key] for key in ("ms", "ms_min", "roofline_ms", "isa")}

    def train(self):
        case = self.case
        if self.peak is None:  # GFLOP/s; a large product is bound by nothing else
            large = Case("infer", "lstm", 64, 64, 512, 512, case.threads)
            self.peak = large.flops() / self.bench(large)["roofline_ms"] / 1e6
        run = ("--hidden", case.H, "--steps", self.steps, "--val", 0.1, "--threads", case.threads)
        out = ("--json", "--no-samples", "-q", "--out", self.folder / "run", "--overwrite")
        row = json.loads(self.output("train", self.folder / "corpus.txt", *run, *out))
        ms = case.B * case.T / row["chars_per_s"] * 1e3
        return {"ms": ms, "ms_min": ms, "roofline_ms": case.flops() / self.peak / 1e6, "isa": row["isa"]}

    def output(self, *arguments):
        command = [self.binary, *map(str, arguments)]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=self.log, text=True, preexec_fn=confined(self.cores)
        )
        if done.returncode:
            raise Failed(f"{' '.join(command)}: exit status {done.returncode}; its messages are in the log")
        return done.stdout

    def alive(self):
        return True

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)


WARM_UP_S = 0.1
SLOW_S = 2
SHORT_TRAINING = 20  # steps
LONG_TRAINING_S = 3
CORPUS = 200_000  # symbols, of which a tenth is for validation
