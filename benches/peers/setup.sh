#!/usr/bin/env bash
# Installs the rivals into PEERS_DIR, outside the repository. What is there already stays.
#   PEERS_DIR       default: ifog-peers in the user's cache folder
#   PEERS_WITHOUT   parts to leave out, of: python rust onednn
#   PEERS_PIP       further arguments of pip, such as an index with CPU-only wheels of torch
#   CARGO_JOBS      parallel jobs of the Rust build (default 1: link-time optimisation wants memory)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=${PEERS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/ifog-peers}
without=" ${PEERS_WITHOUT:-} "
mkdir -p "$dir"

say() { echo "setup: $*" >&2; }
wanted() { [[ $without != *" $1 "* ]] || { say "$1 left out"; return 1; }; }

if wanted python; then
  say "Python rivals into $dir/venv"
  [ -x "$dir/venv/bin/python" ] || python3 -m venv "$dir/venv"
  # PyPI's torch carries libraries for GPUs, some 5 GB; only its CPU part is used.
  # shellcheck disable=SC2086 # PEERS_PIP is a list of arguments
  "$dir/venv/bin/python" -m pip install --quiet ${PEERS_PIP:-} -r "$here/requirements.txt"
fi

if wanted rust; then
  say "Rust rivals into $dir/rust-target; the first build takes half an hour on one core"
  RUSTFLAGS="-C target-cpu=native" CARGO_TARGET_DIR=$dir/rust-target \
    cargo build --manifest-path "$here/rust/Cargo.toml" --release --locked --jobs "${CARGO_JOBS:-1}"
fi

if wanted onednn; then
  if [ -e /usr/include/oneapi/dnnl/dnnl.hpp ]; then
    say "oneDNN's primitives into $dir/peer-onednn"
    "${CXX:-g++}" -O3 -march=native -std=c++17 "$here/onednn/peer.cpp" -ldnnl -o "$dir/peer-onednn"
  else
    say "oneDNN's primitives left out: no dnnl.hpp (Debian: libdnnl-dev)"
  fi
fi

say "done; next: cargo build --release && benches/peers/run.py --quick"
