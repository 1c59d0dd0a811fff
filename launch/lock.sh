#!/usr/bin/env bash
# Writes launch/requirements-*.txt anew from pyproject.toml, with the uv of .venv. Versions that
# still fit are kept; arguments go to uv, so `launch/lock.sh --upgrade` takes the newest of
# everything and `launch/lock.sh --upgrade-package jax` the newest jax.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
PATH="$PWD/.venv/bin:$PATH"

# resolve FILE SOURCE ARGS…: one file for every platform and every Python from 3.11 on. Neither
# addresses nor the command line (it may hold some) are written into it.
resolve() {
  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
    --output-file "$1" "${@:2}" >/dev/null
}

# lock NAME SOURCE ARGS…
lock() {
  local file="launch/requirements-$1.txt"
  resolve "$file" "${@:2}"
  printf '# Made from pyproject.toml by launch/lock.sh: change that and run it, not this.\n' |
    cat - "$file" >"$file.new"
  mv -- "$file.new" "$file"
}

# All of them in the versions of the first, so that any of them goes on top of another. It has what
# may lie beside an accelerator, found together: botocore, for one, wants an older python-dateutil
# than the tests would take.
work="$(mktemp -d)"
trap 'rm -rf -- "$work"' EXIT
all="$work/all.txt"
cat launch/requirements-{test,cloud}.txt >"$all" # the versions that are kept
resolve "$all" --extra test --extra cloud --extra hub --extra wandb --extra mlflow pyproject.toml "$@"
lock cpu --constraint "$all" pyproject.toml "$@"
for extra in cuda12 cuda13 tpu cloud hub wandb mlflow test; do
  lock "$extra" --constraint "$all" --extra "$extra" pyproject.toml "$@"
done
# uv, which installs them all, and what builds ours and the one that has no wheel (promise, which
# TFDS needs).
lock build --constraint "$all" - "$@" <<<$'setuptools>=77\nuv>=0.9'
