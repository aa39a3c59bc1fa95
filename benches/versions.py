#!/usr/bin/env python3
"""Is this working tree faster than another commit? Both versions in one program, a millisecond of each in turns.

    benches/versions.py HEAD~1                                         a small grid of an LSTM
    benches/versions.py HEAD --pass train --batch 64 --hidden 512      what is not committed yet, one case
    benches/versions.py 2341a25 --cell lstm,gru --pass step --batch 1 --hidden 16,64,256 --seconds 1

The quotient of neighbouring blocks knows half a percent where medians of runs a minute apart know three: a clock that moves meets both.
Everything is built in $VERSIONS_DIR, or `ifog-versions` in the user's cache folder. Run nothing beside it.
"""

import argparse
import io
import itertools
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Of the same name and version two packages cannot be told apart in one lock file.
OTHER_VERSION = "0.0.1"

MANIFEST = """[package]
name = "versions"
version = "0.0.0"
edition = "2024"
publish = false

[[bin]]
name = "versions"
path = {main!r}

[dependencies]
before = {{ package = "ifog", path = {before!r}, features = ["rayon"] }}
now = {{ package = "ifog", path = {now!r}, features = ["rayon"] }}

[profile.release]
codegen-units = 4

[workspace]
"""


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("commit", help="what to compare with")
    names = {"type": lambda text: text.split(",")}
    parser.add_argument("--pass", dest="passes", default="infer,train", help="of infer, train, step", **names)
    parser.add_argument("--cell", default="lstm", help="of lstm, gru, gru-after, rnn", **names)
    parser.add_argument("--batch", default="8,32,128", **names)
    parser.add_argument("--hidden", default="128,512", help="H, and as many inputs", **names)
    parser.add_argument("--steps", default="64", help="T of infer and train", **names)
    parser.add_argument("--threads", default="1", **names)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a case")
    return parser.parse_args()


def unpack(commit, folder):
    """The crates of the commit under another version number, touched only where they differ from what is there."""
    archive = subprocess.run(
        ["git", "-C", ROOT, "archive", commit, "Cargo.toml", "crates"], capture_output=True
    )
    if archive.returncode:
        sys.exit(f"git has no {commit}: {archive.stderr.decode().strip()}")
    fresh = folder.with_suffix(".fresh")
    shutil.rmtree(fresh, ignore_errors=True)
    tarfile.open(fileobj=io.BytesIO(archive.stdout)).extractall(fresh, filter="data")
    manifest = fresh / "Cargo.toml"
    lines = manifest.read_text().splitlines()
    version = next(line for line in lines if line.startswith("version = ")).split('"')[1]
    # benches and tests stay where they are.
    members = [line for line in lines if not line.startswith("members = ")]
    text = "\n".join(members).replace("[workspace]\n", '[workspace]\nmembers = ["crates/*"]\n', 1)
    manifest.write_text(text.replace(f'"{version}"', f'"{OTHER_VERSION}"') + "\n")
    for old in sorted(folder.rglob("*"), reverse=True):
        if old.is_file() and not (fresh / old.relative_to(folder)).exists():
            old.unlink()
    for new in fresh.rglob("*"):
        place = folder / new.relative_to(fresh)
        if new.is_dir():
            place.mkdir(parents=True, exist_ok=True)
        elif not place.exists() or place.read_bytes() != new.read_bytes():
            place.write_bytes(new.read_bytes())
    shutil.rmtree(fresh)


def main():
    args = arguments()
    cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    folder = pathlib.Path(os.environ.get("VERSIONS_DIR") or pathlib.Path(cache) / "ifog-versions")
    before = folder / "before"
    before.mkdir(parents=True, exist_ok=True)
    unpack(args.commit, before)
    paths = {
        "main": ROOT / "benches" / "versions" / "main.rs",
        "before": before / "crates" / "ifog",
        "now": ROOT / "crates" / "ifog",
    }
    # Beside the crates, not above them: they have a workspace of their own.
    program = folder / "program"
    program.mkdir(exist_ok=True)
    manifest = MANIFEST.format(**{name: str(path) for name, path in paths.items()})
    (program / "Cargo.toml").write_text(manifest)
    build = subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=program)
    if build.returncode:
        sys.exit(build.returncode)
    cases = [
        ",".join([of, cell, batch, "1" if of == "step" else steps, hidden, threads])
        for of, cell, threads, steps, hidden, batch in itertools.product(
            args.passes, args.cell, args.threads, args.steps, args.hidden, args.batch
        )
    ]
    sys.exit(subprocess.run([program / "target/release/versions", str(args.seconds), *cases]).returncode)


if __name__ == "__main__":
    main()
