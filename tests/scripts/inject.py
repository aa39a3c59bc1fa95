#!/usr/bin/env python3
"""Lets each write, fsync and rename of a training fail in turn, with EIO and with ENOSPC, or be the last thing it does.

    cargo build --release
    python3 tests/scripts/inject.py target/release/ifog            (needs strace)

A run is stopped halfway; from a copy of its directory it is resumed under strace, which makes the n-th call fail, or kills
it there. A failure must end it with exit code 1 and one sentence; and either way the directory must still resume to the
very bytes of a run left alone.
Only writes to files count: standard output and error may be closed or full without any harm to the run.
"""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

SETTINGS = ["--hidden", "8", "--batch", "4", "--seq-len", "16", "--threads", "1", "--save-every", "4steps", "--keep", "100"]
TEXT = "the fog comes in on little feet, it sits and looks and then moves on.\n" * 30
CALLS = ["write", "fsync", "rename"]
KILL = "signal=KILL"
FAULTS = ["error=EIO", "error=ENOSPC", KILL]


def train(ifog, arguments, strace=()):
    command = [*strace, ifog, "train", "--quiet", "--no-samples", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def calls(ifog, run, log):
    """How many calls of each kind a resumption makes, and which of the writes go to files of the run."""
    train(ifog, ["--resume", str(run)], ["strace", "-y", "-e", "trace=" + ",".join(CALLS), "-o", str(log)])
    lines = log.read_text().splitlines()
    places = {}
    for call in CALLS:
        of_call = [line for line in lines if re.match(rf"{call}\(", line)]
        inside = [str(run) in line for line in of_call]
        places[call] = [number for number, ours in enumerate(inside, 1) if ours]
    return places


def keep_until(run, step):
    """Removes the states after `step`, as if the run had been killed there."""
    for state in run.glob("training-*.safetensors"):
        if int(state.name[9:-12]) > step:
            state.unlink()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ifog")
    parser.add_argument("--steps", type=int, default=24)
    arguments = parser.parse_args()
    ifog, bad, injected = arguments.ifog, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        corpus = folder / "text.txt"
        corpus.write_text(TEXT)
        new = [str(corpus), *SETTINGS, "--steps", str(arguments.steps), "--out"]
        whole, half, run = folder / "whole", folder / "half", folder / "run"
        assert train(ifog, [*new, str(whole)]).returncode == 0
        reference = (whole / "model.safetensors").read_bytes()
        # As if it had been killed halfway: resuming truncates the metrics and replaces the model.
        assert train(ifog, [*new, str(half)]).returncode == 0
        keep_until(half, arguments.steps // 2)
        shutil.copytree(half, run)
        places = calls(ifog, run, folder / "log")
        for call in CALLS:
            for fault in FAULTS:
                for number in places[call]:
                    shutil.rmtree(run)
                    shutil.copytree(half, run)
                    inject = f"inject={call}:{fault}:when={number}"
                    failed = train(ifog, ["--resume", str(run)],
                                   ["strace", "-qq", "-e", f"trace={call}", "-e", inject, "-o", "/dev/null"])
                    sentence = failed.stderr.strip().splitlines()
                    killed = fault == KILL
                    # strace ends as its child does.
                    expected = failed.returncode in (-9, 137) if killed else failed.returncode == 1 and len(sentence) == 1
                    states = len(list(run.glob("training-*.safetensors")))
                    again = train(ifog, ["--resume", str(run)])
                    same = again.returncode == 0 and (run / "model.safetensors").read_bytes() == reference
                    injected += 1
                    if not expected or states == 0 or not same:
                        bad += 1
                        print(f"{inject}: exit {failed.returncode}, {sentence}, {states} states, resumed: {again.returncode}, same: {same}")
        counts = ", ".join(f"{len(places[call])} {call}" for call in CALLS)
        print(f"{injected} injected faults ({counts}; EIO, ENOSPC and SIGKILL at each): {bad} bad")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
