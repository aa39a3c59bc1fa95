#!/usr/bin/env python3
"""Stops and kills trainings at random moments, and compares what the resumed runs write with a run left alone.

    cargo build --release
    python3 tests/scripts/interrupt.py target/release/ifog --stops 30 --kills 200

Stops: SIGINT, SIGTERM and SIGKILL in turn, each at a random moment of a run of its own, which is then resumed to its
end. Kills: one run after the other, saved after every step, killed again and again until the number is reached.
The exit code is 1 if a model differs, a directory cannot be resumed, or more than a save interval is lost.
"""

import argparse
import json
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

SAVE_EVERY = 20
SETTINGS = ["--hidden", "24", "--batch", "8", "--seq-len", "16", "--dropout", "0.1", "--threads", "1", "--quiet"]
TEXT = "the fog comes in on little feet, it sits and looks and then moves on.\n" * 60
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}


class Trainings:
    def __init__(self, ifog, folder, steps):
        self.ifog, self.folder, self.steps = ifog, pathlib.Path(folder), steps
        self.corpus = self.folder / "text.txt"
        self.corpus.write_text(TEXT)

    def command(self, run, save_every):
        """Starts a run, or resumes the one there is."""
        if (run / "config.toml").exists():
            return [self.ifog, "train", "--resume", str(run), "--quiet"]
        new = [self.ifog, "train", str(self.corpus), "--steps", str(self.steps), "--out", str(run), "--overwrite"]
        return new + SETTINGS + ["--save-every", f"{save_every}steps"]

    def finish(self, run, save_every):
        done = subprocess.run(self.command(run, save_every), capture_output=True, text=True)
        return done.returncode, done.stderr

    def kill(self, run, save_every, number, delay):
        """The exit code, and the steps that were done."""
        process = subprocess.Popen(self.command(run, save_every), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        process.send_signal(number)
        return process.wait(), last_step(run)


def last_step(run):
    lines = (run / "metrics.jsonl").read_bytes().split(b"\n")[:-1] if (run / "metrics.jsonl").exists() else []
    return max((json.loads(line)["step"] for line in lines), default=0)


def saved_step(run):
    names = [path.name for path in run.glob("training-*.safetensors")]
    return max((int(name[9:-12]) for name in names), default=0)


def model(run):
    return (run / "model.safetensors").read_bytes()


def stops(trainings, reference, seconds, count, rng):
    bad = interrupted = 0
    for number, sign in zip(range(count), [signal.SIGINT, signal.SIGTERM, signal.SIGKILL] * count):
        run = trainings.folder / f"stop{number}"
        code, done = trainings.kill(run, SAVE_EVERY, sign, rng.uniform(0, seconds))
        lost = done - saved_step(run)
        allowed = SAVE_EVERY if sign == signal.SIGKILL else 0
        finished, stderr = trainings.finish(run, SAVE_EVERY)
        interrupted += code == CODES[sign]
        ok = code in (0, CODES[sign], -sign) and finished == 0 and model(run) == reference and lost <= allowed
        if not ok:
            bad += 1
            print(f"stop {number} {sign.name}: exit {code}, then {finished}, {lost} steps lost: {stderr}")
    print(f"{count} stops, {interrupted} of them before the end of the run: {bad} bad")
    return bad


def kills(trainings, reference, seconds, count, rng):
    bad = killed = runs = 0
    while killed < count:
        run = trainings.folder / f"kill{runs}"
        runs += 1
        while killed < count:
            code, _ = trainings.kill(run, 1, signal.SIGKILL, rng.uniform(0, seconds / 4))
            if code == 0:
                break
            killed += 1
            if code != -9:
                bad += 1
                print(f"a resumption ended with exit code {code}")
        finished, stderr = trainings.finish(run, 1)
        if finished != 0 or model(run) != reference:
            bad += 1
            print(f"{run.name}: exit {finished}, model {'equal' if finished == 0 else 'absent'}: {stderr}")
    print(f"{killed} kills in {runs} runs saved after each step: {bad} bad")
    return bad


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ifog")
    parser.add_argument("--stops", type=int, default=30)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        trainings = Trainings(arguments.ifog, folder, arguments.steps)
        start = time.monotonic()
        code, stderr = trainings.finish(trainings.folder / "whole", SAVE_EVERY)
        seconds = time.monotonic() - start
        if code != 0:
            sys.exit(stderr)
        reference = model(trainings.folder / "whole")
        print(f"a run of {arguments.steps} steps takes {seconds:.2f} s")
        bad = stops(trainings, reference, seconds, arguments.stops, rng)
        bad += kills(trainings, reference, seconds, arguments.kills, rng)
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
