#!/usr/bin/env python3
"""Reads the machine code of the microkernels and fails if a product loop holds more than products.

    cargo build --release -p ifog-kernels
    tests/scripts/check_machine_code.py target/release/libifog_kernels.rlib
    tests/scripts/check_machine_code.py --expect-failure RLIB     # succeeds if it finds something

A product loop is the innermost loop of a microkernel that multiplies and adds. Allowed in it: one jump, back to its
start. Not allowed: a call, a second jump (a bounds check is one), a vector on the stack (a spill). For each level the
largest loop must have the tile that its registers allow, or the code that was looked at is not the code that runs.
Needs objdump (binutils).
"""

import re
import subprocess
import sys

# Multiply-adds of the largest tile: rows x vectors.
TILES = {"Avx512F32": 24, "Avx512F64": 24, "Avx2F32": 12, "Avx2F64": 12}

FUNCTION = re.compile(r"^[0-9a-f]+ <(\S*Microkernels\S*microkernel\S*run\S*)>:$")
INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\s+(\S+)\s*(.*)$")


def functions(path):
    """(name, [(address, mnemonic, operands)]) of every microkernel."""
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


def product_loops(body):
    """The instructions of every innermost loop that multiplies and adds."""
    place = {address: index for index, (address, _, _) in enumerate(body)}
    loops = []
    for index, (address, mnemonic, operands) in enumerate(body):
        target = re.match(r"([0-9a-f]+)", operands)
        if mnemonic.startswith("j") and target and int(target.group(1), 16) <= address:
            first = place.get(int(target.group(1), 16))
            if first is not None:
                loops.append((first, index))
    for first, last in loops:
        inner = any((a, b) != (first, last) and first <= a and b <= last for a, b in loops)
        loop = body[first : last + 1]
        if not inner and any(m.startswith("vfmadd") for _, m, _ in loop):
            yield loop


def faults(loop):
    jumps = sum(m.startswith("j") for _, m, _ in loop)
    if jumps != 1:
        yield f"{jumps} jumps"
    for address, mnemonic, operands in loop:
        if mnemonic.startswith("call"):
            yield f"a call at {address:x}"
        if mnemonic.startswith("v") and "(%rsp" in operands:
            yield f"a vector on the stack at {address:x}: {mnemonic} {operands}"


def main(arguments):
    expect_failure = "--expect-failure" in arguments
    (path,) = [a for a in arguments if not a.startswith("--")]
    found, seen, count = [], dict.fromkeys(TILES, 0), 0
    for name, body in functions(path):
        level = next((level for level in TILES if level in name), None)
        if level is None:
            continue
        for loop in product_loops(body):
            count += 1
            products = sum(m.startswith("vfmadd") for _, m, _ in loop)
            seen[level] = max(seen[level], products)
            found += [f"{level}, loop of {products} products: {fault}" for fault in faults(loop)]
    for level, tile in TILES.items():
        if seen[level] < tile:
            found.append(f"{level}: the largest loop has {seen[level]} products, not {tile}")
    for fault in found[:20]:
        print(fault)
    print(f"{count} product loops, {len(found)} faults")
    return (0 if found else 1) if expect_failure else (1 if found else 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
