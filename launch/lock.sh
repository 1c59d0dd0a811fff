#!/usr/bin/env bash
# Writes launch/requirements-*.txt anew from pyproject.toml. Needs uv. Versions that still fit are
# kept; arguments go to uv, so `launch/lock.sh --upgrade` takes the newest of everything and
# `launch/lock.sh --upgrade-package jax` the newest jax.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

# lock NAME SOURCE ARGS…: one file for every platform and every Python from 3.11 on. Neither
# addresses nor the command line (it may hold some) are written into it.
lock() {
  local file="launch/requirements-$1.txt"
  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
    --output-file "$file" "${@:2}" >/dev/null
  printf '# Made from pyproject.toml by launch/lock.sh: change that and run it, not this.\n' |
    cat - "$file" >"$file.new"
  mv -- "$file.new" "$file"
}

# All of them in the versions of the first, so that any of them goes on top of another.
all=launch/requirements-test.txt
lock test --extra test pyproject.toml "$@"
lock cpu --constraint "$all" pyproject.toml "$@"
for accelerator in cuda12 cuda13 tpu; do
  lock "$accelerator" --constraint "$all" --extra "$accelerator" pyproject.toml "$@"
done
# What builds the one package that has no wheel (promise, which TFDS needs), and ours.
lock build --constraint "$all" - "$@" <<<'setuptools>=77'
