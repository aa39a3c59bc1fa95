#!/usr/bin/env python3
"""Counts the instructions of single calls with callgrind, and compares them with the recorded ones.

    benches/instructions.py            fails if a case differs by more than 1 %, and 16 instructions, from
                                       benches/baseline/avx2.json
    benches/instructions.py --record   writes that file anew

Valgrind has no AVX-512, so it is the AVX2 code that is counted. The count of a call is the difference between many calls
and a few, divided: what happens once does not enter, and the waiting of the thread pool, which is the only thing that
varies, is a thousandth. So it is the same on every machine and under any load, for one compiler.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent
BASELINE = ROOT / "baseline" / "avx2.json"
TOLERANCE = 0.01
# What the compiler inlines around a call of a thousand instructions changes with code that has nothing to do with it: steps of
# one commit's kernels were seen 12 apart. A bounds check in the product loop of the shortest step is 64 and more.
SLACK = 16

CASES = [
    "infer lstm 6 64",
    "infer gru 6 64",
    "infer gru-after 6 64",
    "infer rnn 6 64",
    "infer lstm 1 64",
    "train lstm 6 64",
    "train gru 6 64",
    "train gru-after 6 64",
    "train rnn 6 64",
    "step lstm 1 16",
    "step lstm 1 64",
    "step gru 1 16",
    "step gru-after 1 64",
]


def count(binary, case, calls):
    with tempfile.TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out"]
        environment = {**os.environ, "IFOG_ISA": "avx2"}
        run = subprocess.run(
            [*command, binary, *case.split(), str(calls)],
            capture_output=True,
            text=True,
            env=environment,
        )
    found = re.search(r"Collected : (\d+)", run.stderr)
    if run.returncode or not found:
        sys.exit(f"{case}: valgrind failed:\n{run.stderr[-2000:]}")
    return int(found.group(1))


def main():
    subprocess.run(
        ["cargo", "build", "--release", "-p", "ifog-benches", "--example", "calls"],
        check=True,
        cwd=ROOT.parent,
    )
    binary = ROOT.parent / "target" / "release" / "examples" / "calls"
    counts = {}
    for case in CASES:
        many = 3000 if case.startswith("step") else 40
        counts[case] = (count(binary, case, many + 3) - count(binary, case, 3)) // many
    if "--record" in sys.argv[1:]:
        BASELINE.write_text(json.dumps(counts, indent=2) + "\n")
    expected = json.loads(BASELINE.read_text())
    bad = 0
    for case, instructions in counts.items():
        before = expected.get(case)
        change = instructions / before - 1 if before else float("inf")
        near = before and abs(instructions - before) <= max(TOLERANCE * before, SLACK)
        verdict = "" if near else "  <-- beyond 1 %"
        bad += bool(verdict)
        print(f"{case:24} {instructions:10} instructions a call, {change:+.2%}{verdict}")
    if bad:
        print("If the change is wanted, record it: benches/instructions.py --record")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
