#!/usr/bin/env python3
"""Runs the suites that compute, of `ifog` and of the workspace's tests, once for each level named.

    tests/scripts/levels.py avx2 scalar-fma portable

The binaries are those of `cargo test --workspace`: chosen by package, cargo would build everything again with the
features of these packages alone.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = [ROOT / "crates/ifog/Cargo.toml", ROOT / "tests/Cargo.toml"]


def binaries():
    """(binary, the folder it runs in)."""
    build = [os.environ.get("CARGO", "cargo"), "test", "--workspace", "--no-run", "--message-format=json"]
    out = subprocess.run(build, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    for line in out.splitlines():
        message = json.loads(line)
        if message["reason"] != "compiler-artifact" or not message["profile"]["test"]:
            continue
        manifest = Path(message["manifest_path"])
        if message["executable"] and manifest in PACKAGES:
            yield message["executable"], manifest.parent


def main(levels):
    found = sorted(binaries())
    if not found:
        sys.exit("no test binaries of " + ", ".join(map(str, PACKAGES)))
    for level in levels:
        print(f"== IFOG_ISA={level}", flush=True)
        for binary, folder in found:
            subprocess.run([binary, "-q"], cwd=folder, env={**os.environ, "IFOG_ISA": level}, check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
