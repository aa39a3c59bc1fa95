#!/usr/bin/env python3
"""Measures ifog and other recurrent-network libraries on this machine, in turns, case by case.

Writes results.jsonl, results.md and results.svg into --out. README.md beside this file says what is measured.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
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
# Slower than the fastest by this in the first round: once is enough.
HOPELESS = 3.0


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
        try:
            for number, case in enumerate(cases, 1):
                begin = time.monotonic()
                for row in one_case(case, entrants, arguments):
                    print(json.dumps(case.fields() | row | machine), file=results, flush=True)
                took = time.monotonic() - begin
                print(f"[{number}/{len(cases)}] {report.name(case.fields())}: {took:.0f} s", file=sys.stderr)
        finally:
            entrants.close()


class Entrants:
    """ifog and the rivals, each started when its turn comes first, and again after it has died."""

    def __init__(self, arguments, log):
        def rival(name, entry):
            return lambda: Worker(name, entry, arguments.cores, PEERS / "models", log)

        self.makers = {name: rival(name, entry) for name, entry in arguments.commands.items()}
        self.makers[IFOG] = lambda: Ifog(arguments.ifog, arguments.cores, log)
        self.running, self.log = {}, log

    def __iter__(self):
        return iter(self.makers)

    def __getitem__(self, name):
        if name not in self.running or not self.running[name].alive():
            self.running[name] = self.makers[name]()
        return self.running[name]

    def close(self):
        for entrant in self.running.values():
            entrant.close()


def one_case(case, entrants, arguments):
    """A row for each entrant that can do the case."""
    probes, turns = {}, {}
    for name in entrants:
        try:
            probes[name] = entrants[name].prepare(case)
            turns[name] = []
        except Refused as reason:
            print(f"{report.name(case.fields())}: {name}: {reason}", file=entrants.log, flush=True)
        except Failed as failure:
            print(f"{report.name(case.fields())}: {name}: {failure}", file=sys.stderr)
    for round_ in range(arguments.rounds):
        names = [name for name in turns if not hopeless(name, turns)]
        # The places in a round rotate: what a neighbour leaves in the caches, and a slow moment, hit everybody.
        start = round_ % max(1, len(names))
        for name in names[start:] + names[:start]:
            try:
                turns[name].append(entrants[name].measure(arguments.seconds))
            except Failed as failure:
                print(f"{report.name(case.fields())}: {name}: {failure}", file=sys.stderr)
                del turns[name]
    limits = [turn["roofline_ms"] for turn in turns.get(IFOG, [])]
    differences = compared(probes)
    for name, measured in turns.items():
        ms = statistics.median(turn["ms"] for turn in measured)
        row = {
            "rival": name,
            "version": entrants[name].version,
            "ms": ms,
            "ms_min": min(turn["ms_min"] for turn in measured),
            "ms_rounds": [turn["ms"] for turn in measured],
            "gflops": case.flops() / ms / 1e6,
            "difference": differences.get(name),
            "roofline_ms": statistics.median(limits) if limits else None,
        }
        yield row | ({"isa": measured[0]["isa"]} if name == IFOG else {})


def hopeless(name, turns):
    """ifog is measured in every round, whatever it does."""
    firsts = {other: measured[0]["ms"] for other, measured in turns.items() if measured}
    return name != IFOG and name in firsts and firsts[name] > HOPELESS * min(firsts.values())


def compared(probes):
    """Relative L2 difference of each rival's probe to that of the first rival that has one."""
    having = {name: probe for name, probe in probes.items() if probe}
    if not having:
        return {}
    reference, first = next(iter(having.items()))
    differences = {}
    for name, probe in having.items():
        pairs = [(np.array(probe[key]), np.array(values)) for key, values in first.items()]
        error = max(float(np.linalg.norm(mine - his) / np.linalg.norm(his)) for mine, his in pairs)
        if not error <= LARGEST_DIFFERENCE:
            print(f"{name} computes something else than {reference}: difference {error:.1e}", file=sys.stderr)
        differences[name] = {"to": reference, "relative": error, "ok": error <= LARGEST_DIFFERENCE}
    return differences


if __name__ == "__main__":
    main()
