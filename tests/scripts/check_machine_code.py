#!/usr/bin/env python3
"""Reads the machine code of the kernels and fails if their inner loops hold more than arithmetic.

    cargo build --release -p ifog-kernels
    tests/scripts/check_machine_code.py target/release/libifog_kernels.rlib
    tests/scripts/check_machine_code.py --expect-failure RLIB     # succeeds if it finds something of each kind

A product loop is the innermost loop of a microkernel that multiplies and adds. Allowed in it: one jump, back to its
start. Not allowed: a call, a second jump (a bounds check is one), a vector on the stack (a spill). For each level the
largest loop must have the tile that its registers allow, or the code that was looked at is not the code that runs.

The same holds for the loops of exp, sigmoid and tanh over a slice, of which each level must have one (in that of sigmoid a
branch leads out of it, for numbers that are rare); what the portable level may have beside it is its own matter. In every other entry, what divides vectors is a gate: no call in such a loop.
The scalar level with fused multiply-add is left out, whose multiply-add is a call by itself.
Needs objdump (binutils).
"""

import re
import subprocess
import sys

# Multiply-adds of the largest tile: rows x vectors.
TILES = {
    "Avx512F32": 24,
    "Avx512F64": 24,
    "Avx512HalfF32": 24,
    "Avx512HalfF64": 24,
    "Avx2F32": 12,
    "Avx2F64": 12,
}
# Slices by function and level: one loop for f32, one for f64.
SLICES = [(name, level) for name in ("exp", "sigmoid", "tanh") for level in ("avx512", "avx2", "portable")]

FUNCTION = re.compile(r"^[0-9a-f]+ <(\S*ifog_kernels\S*)>:$")
MICROKERNEL = re.compile(r"Microkernels\S*microkernel\S*run")
SLICE = re.compile(r"(?:dispatch|planted)\S*\d(exp|sigmoid|tanh)\d+(avx512|avx2|portable)")
ENTRY = re.compile(r"dispatch\S*Entries\S*\d([a-z_]+)\d+(avx512|avx2)")
INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\s+(\S+)\s*(.*)$")


def functions(path):
    """(name, [(address, mnemonic, operands)]) of every function of the kernels."""
    text = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", path], check=True, capture_output=True, text=True
    ).stdout
    name, body = None, []
    for line in text.splitlines():
        start = FUNCTION.match(line)
        if start or not line.strip():
            if name and body:
                yield name, body
            name, body = (start.group(1) if start else None), []
        elif name and (found := INSTRUCTION.match(line)):
            body.append((int(found.group(1), 16), found.group(2), found.group(3)))
    if name and body:
        yield name, body


def inner_loops(body):
    """The instructions of every loop without another one in it."""
    place = {address: index for index, (address, _, _) in enumerate(body)}
    loops = []
    for index, (address, mnemonic, operands) in enumerate(body):
        target = re.match(r"([0-9a-f]+)", operands)
        if mnemonic.startswith("j") and target and int(target.group(1), 16) <= address:
            first = place.get(int(target.group(1), 16))
            if first is not None:
                loops.append((first, index))
    for first, last in loops:
        if not any((a, b) != (first, last) and first <= a and b <= last for a, b in loops):
            yield body[first : last + 1]


def count(loop, *mnemonics):
    return sum(mnemonic.startswith(mnemonics) for _, mnemonic, _ in loop)


def calls(loop):
    return [f"a call at {address:x}" for address, mnemonic, _ in loop if mnemonic.startswith("call")]


def faults(loop, jumps_allowed=1):
    """Whatever is not arithmetic."""
    if (jumps := count(loop, "j")) > jumps_allowed:
        yield f"{jumps} jumps"
    yield from calls(loop)
    for address, mnemonic, operands in loop:
        if mnemonic.startswith("v") and "(%rsp" in operands:
            yield f"a vector on the stack at {address:x}: {mnemonic} {operands}"


def check_products(kernels):
    """The microkernels: how many loops there are, and what is wrong."""
    found, seen, loops = [], dict.fromkeys(TILES, 0), 0
    for name, body in kernels:
        level = next((level for level in TILES if level in name), None)
        if level is None or not MICROKERNEL.search(name):
            continue
        for loop in inner_loops(body):
            if not (products := count(loop, "vfmadd")):
                continue
            loops += 1
            seen[level] = max(seen[level], products)
            found += [f"{level}, loop of {products} products: {fault}" for fault in faults(loop)]
    for level, tile in TILES.items():
        if seen[level] < tile:
            found.append(f"{level}: the largest loop has {seen[level]} products, not {tile}")
    return loops, found


def check_gates(kernels):
    """The gate functions, over slices and in the cells: how many loops there are, and what is wrong."""
    found, seen, loops = [], dict.fromkeys(SLICES, 0), 0
    for name, body in kernels:
        if slices := SLICE.search(name):
            function, level = slices.groups()
            at = f"{function} on {level}"
            # The loop over whole vectors; what is left over may have one of its own.
            loop = max(inner_loops(body), key=lambda loop: count(loop, "vfmadd", "mulp"), default=[])
            if not count(loop, "vfmadd", "mulp"):
                found.append(f"{at}: no loop that multiplies, so one that calls")
                continue
            loops += 1
            seen[function, level] += 1
            # A sigmoid leaves the loop for numbers that are rare.
            allowed = 2 if function == "sigmoid" else 1
            wrong = calls(loop) if level == "portable" else faults(loop, allowed)
            found += [f"{at}: {fault}" for fault in wrong]
        elif entry := ENTRY.search(name):
            for loop in inner_loops(body):
                if count(loop, "vdivp"):
                    loops += 1
                    found += [f"{' on '.join(entry.groups())}: {call} beside a gate" for call in calls(loop)]
    found += [f"{name} on {level}: {n} loops, not 2" for (name, level), n in seen.items() if n != 2]
    return loops, found


def main(arguments):
    expect_failure = "--expect-failure" in arguments
    (path,) = [a for a in arguments if not a.startswith("--")]
    kernels = list(functions(path))
    ends = []
    for kind, check in (("product", check_products), ("gate", check_gates)):
        loops, found = check(kernels)
        for fault in found[:10]:
            print(fault)
        print(f"{loops} {kind} loops, {len(found)} faults")
        ends.append(bool(found) == expect_failure)
    return 0 if all(ends) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
