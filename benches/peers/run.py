#!/usr/bin/env python3
"""Measures ifog and other recurrent-network libraries on this machine, in turns, case by case.

Writes results.jsonl, results.md and results.svg into --out. README.md beside this file says what is measured.
"""

import argparse
import json
import math
import os
import platform
import statistics
import sys
import time
from contextlib import contextmanager
from pathlib import Path

PEERS = Path(os.environ.get("PEERS_DIR") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ifog-peers")
PYTHON = PEERS / "venv/bin/python"
ROOT = Path(__file__).resolve().parents[2]

if __name__ == "__main__" and Path(sys.prefix) != PYTHON.parents[1]:
    if not PYTHON.exists():
        sys.exit(f"{PYTHON} does not exist: run benches/peers/setup.sh, with the same PEERS_DIR if it is set")
    os.execv(PYTHON, [PYTHON, *sys.argv])

import numpy as np  # noqa: E402

import report  # noqa: E402
from cases import IFOG, KINDS, grid, selection, smoke  # noqa: E402
from rivals import Failed, Ifog, Refused, Worker, commands  # noqa: E402

# Two right f32 implementations differ by some 1e-6 here; a gate in the wrong place makes a difference of 1e-1.
LARGEST_DIFFERENCE = 1e-4
# Who needs this many times the time of the fastest rival is asked in two rounds, or in one if a call takes longer than a second.
SLOWER = 1.5
# Whose call takes so many turns is asked in this many rounds.
LONG_CALL_TURNS, ROUNDS_OF_LONG_CALLS = 2, 3
# Seconds of a call, at its speed in the last case of the kind: who needs more is left out.
LONGEST_CALL_S = 4.0
# Training steps are long, and few fit into a turn.
LONGER_TURNS = {"charlm": 8}
# For the duration that is told beforehand, by what all libraries took on a Zen 4: GFLOP/s of a thread of a fast one; seconds
# to start one, and to prepare a case; calls of a case before its rounds; turns of a round.
FAST_GFLOPS, STARTING_S, PREPARING_S, FURTHER_CALLS, TURNS = 100, 2, 0.4, 2.5, 6


def main():
    arguments = parse()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if not arguments.report:
        measure(arguments)
    for file in report.write(arguments.out):
        print(file)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", default=",".join(KINDS), help="kinds of cases, of " + ",".join(KINDS))
    parser.add_argument("--rivals", help="names, separated by commas; default: all that are installed")
    parser.add_argument("--threads", type=int, default=1, help="threads, each on a core of its own (default 1)")
    parser.add_argument("--rounds", type=int, default=5, help="times that each rival has its turn (default 5)")
    parser.add_argument("--seconds", type=float, default=0.3, help="of measuring in a turn (default 0.3)")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--grid", action="store_true", help="all cases instead of a selection")
    size.add_argument("--quick", action="store_true", help="tiny cases in one short round: does everything run?")
    parser.add_argument("--only", metavar="TEXT", help="cases whose name contains this, e.g. 'lstm B=1 '")
    parser.add_argument("--ifog", type=Path, default=ROOT / "target/release/ifog", help="binary to measure")
    parser.add_argument("--out", type=Path, help=f"folder of the results (default {PEERS}/out, or quick)")
    parser.add_argument("--report", action="store_true", help="measure nothing, make table and chart again")
    arguments = parser.parse_args()
    arguments.cases = arguments.cases.split(",")
    if unknown := set(arguments.cases) - set(KINDS):
        parser.error(f"no such case: {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    cores = sorted(os.sched_getaffinity(0))
    if not 1 <= arguments.threads <= len(cores):
        parser.error(f"--threads {arguments.threads}: this process may use {len(cores)} cores")
    arguments.cores = set(cores[-arguments.threads :])  # the first one has the machine's interrupts
    if arguments.quick:
        arguments.rounds, arguments.seconds = 1, 0.02
    arguments.out = arguments.out or PEERS / ("quick" if arguments.quick else "out")
    if not arguments.report and not arguments.ifog.exists():
        parser.error(f"{arguments.ifog} does not exist: run cargo build --release")
    arguments.commands = commands(PEERS, PYTHON)
    if arguments.rivals:
        if unknown := set(arguments.rivals.split(",")) - set(arguments.commands):
            parser.error(f"not installed: {', '.join(sorted(unknown))}; there are {', '.join(arguments.commands)}")
        arguments.commands = {name: arguments.commands[name] for name in arguments.rivals.split(",")}
    return arguments


def measure(arguments):
    make = grid if arguments.grid else smoke if arguments.quick else selection
    cases = [case for case in make(arguments.threads) if case.case in arguments.cases]
    if arguments.only:
        cases = [case for case in cases if arguments.only in report.name(case.fields())]
    machine = {"cpu": report.cpu(), "kernel": platform.release(), "date": time.strftime("%Y-%m-%d")}
    with open(arguments.out / "log.txt", "a") as log, open(arguments.out / "results.jsonl", "a") as results:
        entrants = Entrants(arguments, log)
        expected = [duration(case, arguments) for case in cases]
        in_all = STARTING_S * len(entrants.makers) + sum(expected)
        say(f"{len(cases)} cases, {len(entrants.makers)} libraries: about {minutes(in_all)} on a quiet machine")
        begin = time.monotonic()
        try:
            for number, case in enumerate(cases, 1):
                rows = list(one_case(case, entrants, arguments))
                for row in rows:
                    print(json.dumps(case.fields() | row | machine), file=results, flush=True)
                took = time.monotonic() - begin
                left = sum(expected[number:]) * took / sum(expected[:number])
                say(f"[{number}/{len(cases)}, {minutes(left)} left] {report.sentence(case.fields(), rows)}")
        finally:
            entrants.close()
    if entrants.failures:
        say(f"{entrants.failures} failures: {arguments.out / 'log.txt'} tells which")


def say(text):
    print(text, file=sys.stderr, flush=True)


def minutes(seconds):
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def duration(case, arguments):
    """Seconds that a case takes, about: libraries to prepare, slow ones to wait for, and rounds of the fast ones."""
    call = case.flops() / (FAST_GFLOPS * case.threads) / 1e9
    turn = turn_seconds(case, arguments)
    libraries = 1 + len(arguments.commands)
    rounds = min(arguments.rounds, ROUNDS_OF_LONG_CALLS if call > LONG_CALL_TURNS * turn else arguments.rounds)
    return libraries * (PREPARING_S + FURTHER_CALLS * call) + rounds * min(libraries, TURNS) * max(turn, call)


def turn_seconds(case, arguments):
    return arguments.seconds * LONGER_TURNS.get(case.case, 1)


class Entrants:
    """ifog and the rivals, each started when its turn comes first, and again after it has failed."""

    def __init__(self, arguments, log):
        def rival(name, entry):
            return lambda: Worker(name, entry, arguments.cores, PEERS / "models", log)

        self.makers = {name: rival(name, entry) for name, entry in arguments.commands.items()}
        self.makers[IFOG] = lambda: Ifog(arguments.ifog, arguments.cores, log)
        self.running, self.log, self.failures, self.refusals = {}, log, 0, set()
        self.gflops = {}  # of the last case of a kind

    def __iter__(self):
        return iter(list(self.makers))

    def __getitem__(self, name):
        if name not in self.running:
            try:
                self.running[name] = self.makers[name]()
            except Exception:
                del self.makers[name]  # it would not start the next time either
                raise
        return self.running[name]

    def refuse_long(self, name, case):
        gflops = self.gflops.get((name, case.case, case.cell))
        if name != IFOG and gflops and (expected := case.flops() / gflops / 1e9) > LONGEST_CALL_S:
            raise Refused(f"a call would take some {expected:.0f} s")

    @contextmanager
    def attempting(self, name, case):
        """What goes wrong with a library is a line in the log, and ends its part in the case, nothing else."""
        try:
            yield
        except Refused as reason:
            if (name, case.case, case.cell, str(reason)) not in self.refusals:  # not at each size again
                self.refusals.add((name, case.case, case.cell, str(reason)))
                self.note(name, case, reason)
        except (Failed, OSError, ValueError, LookupError) as failure:
            self.failures += 1
            self.note(name, case, f"FAILED: {failure or type(failure).__name__}")
            say(f"{report.name(case.fields())}: {name} failed: {failure}")
            if name in self.running:
                self.running.pop(name).close()

    def note(self, name, case, text):
        print(f"{report.name(case.fields())}, threads {case.threads}: {name}: {text}", file=self.log, flush=True)

    def close(self):
        for entrant in self.running.values():
            entrant.close()


def one_case(case, entrants, arguments):
    """A row for each entrant that can do the case."""
    probes, turns = {}, {}
    for name in entrants:
        with entrants.attempting(name, case):
            entrants.refuse_long(name, case)
            probes[name] = entrants[name].prepare(case)
            turns[name] = []
    differences = compared(probes)
    for name, difference in differences.items():
        if not difference["ok"]:
            by = difference["relative"] or "not finite"
            entrants.note(name, case, f"computes something else than {difference['to']}: relative difference {by}")
            say(f"{report.name(case.fields())}: {name} computes something else than {difference['to']}")
    right = {name for name in turns if name not in differences or differences[name]["ok"]}
    seconds = turn_seconds(case, arguments)
    for round_ in range(arguments.rounds):
        names = [name for name in turns if round_ < rounds_of(name, turns, right, arguments.rounds, seconds)]
        # The places in a round rotate: what a neighbour leaves in the caches, and a slow moment, hit everybody.
        start = round_ % max(1, len(names))
        for name in names[start:] + names[:start]:
            measured = turns.pop(name)
            with entrants.attempting(name, case):
                turns[name] = measured + [entrants[name].measure(seconds)]
    limits = [turn["roofline_ms"] for turn in turns.get(IFOG, [])]
    for name in [name for name in probes if name in turns]:
        measured = turns[name]
        ms = statistics.median_low(turn["ms"] for turn in measured)
        least = min(turn["ms_min"] for turn in measured)
        entrants.gflops[name, case.case, case.cell] = case.flops() / least / 1e6
        row = {
            "rival": name,
            "version": entrants[name].version,
            "ms": ms,
            "ms_min": least,
            "ms_rounds": [turn["ms"] for turn in measured],
            "gflops": case.flops() / ms / 1e6,
            "difference": differences.get(name),
            "roofline_ms": statistics.median(limits) if limits else None,
        }
        yield row | ({"isa": measured[0]["isa"]} if name == IFOG else {})


def rounds_of(name, turns, right, rounds, seconds):
    """In how many rounds it is measured: ifog, and the rivals that may be the fastest, in all."""
    if not turns[name]:
        return rounds
    # The least time of a turn: a disturbance must not decide this.
    first = turns[name][0]["ms_min"]
    fastest = min((turns[other][0]["ms_min"] for other in right - {IFOG} if turns.get(other)), default=first)
    if name != IFOG and first > SLOWER * fastest:
        rounds = 1 if first > 1000 else 2
    return min(rounds, ROUNDS_OF_LONG_CALLS) if first > LONG_CALL_TURNS * seconds * 1e3 else rounds


def compared(probes):
    """Relative L2 difference of each rival's probe to that of the first rival that has one, if possible of finite numbers."""
    having = {name: {key: numbers(values) for key, values in probe.items()} for name, probe in probes.items() if probe}
    if not having:
        return {}
    finite = (name for name, probe in having.items() if all(np.isfinite(values).all() for values in probe.values()))
    reference = next(finite, next(iter(having)))
    differences = {}
    for name, probe in having.items():
        errors = [relative(probe.get(key, np.empty(0)), values) for key, values in having[reference].items()]
        # max() may lose a NaN.
        error = max(errors) if all(map(math.isfinite, errors)) else math.inf
        shown = error if math.isfinite(error) else None  # JSON has no such number
        differences[name] = {"to": reference, "relative": shown, "ok": error <= LARGEST_DIFFERENCE}
    return differences


def numbers(values):
    """The Rust rivals write NaN as null."""
    return np.array([math.nan if value is None else value for value in values], dtype=float)


def relative(mine, his):
    """L2 norm of the difference over that of `his`."""
    if len(mine) != len(his):
        return math.inf
    with np.errstate(all="ignore"):
        return float(np.linalg.norm(mine - his) / np.linalg.norm(his))


if __name__ == "__main__":
    main()
