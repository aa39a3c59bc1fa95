#!/usr/bin/env bash
# Installs the rivals into PEERS_DIR, outside the repository. What is there already stays.
#   PEERS_DIR       default: ifog-peers in the user's cache folder
#   PEERS_WITHOUT   parts to leave out, of: python rust onednn rtneural
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
    "${CXX:-g++}" -O3 -march=native -std=c++17 "$here/cpp/onednn.cpp" -ldnnl -o "$dir/peer-onednn"
  else
    say "oneDNN's primitives left out: no dnnl.hpp (Debian: libdnnl-dev)"
  fi
fi

rtneural() { # suffix of the name, compiler's arguments
  say "RTNeural into $dir/peer-rtneural$1"
  "${CXX:-g++}" -O3 -march=native -std=c++17 -DRTNEURAL_DEFAULT_ALIGNMENT=32 "${@:2}" -I"$dir/rtneural" \
    "$here/cpp/rtneural.cpp" -o "$dir/peer-rtneural$1"
}

if wanted rtneural; then
  if [ ! -d "$dir/rtneural" ]; then
    git clone --quiet https://github.com/jatinchowdhury18/RTNeural "$dir/rtneural" &&
      git -C "$dir/rtneural" checkout --quiet 1fb1f075a5d66e85bfc8f488c3f3626840cb3a1d &&
      git -C "$dir/rtneural" submodule --quiet update --init || rm -rf "$dir/rtneural"
  fi
  if [ -d "$dir/rtneural" ]; then
    # An object of more than 128 KiB is more than Eigen likes.
    rtneural "" -DRTNEURAL_USE_EIGEN=1 -DEIGEN_STACK_ALLOCATION_LIMIT=0 -I"$dir/rtneural/modules/Eigen"
    # With vectors of 512 bits the xsimd that it carries crashes.
    rtneural -xsimd -DRTNEURAL_USE_XSIMD=1 -mno-avx512f -I"$dir/rtneural/modules/xsimd/include"
  else
    say "RTNeural left out: it could not be cloned into $dir/rtneural, where its source with submodules would be used"
  fi
fi

say "done; next: cargo build --release && benches/peers/run.py --quick"
