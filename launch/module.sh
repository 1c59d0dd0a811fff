#!/usr/bin/env bash
# Runs a module of the program in .venv, for local.sh and ablation.sh: module.sh MODULE ARGS…
set -euo pipefail
root="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"

"$root/launch/set_up.sh" run
unset PYTHONHOME
export PYTHONPATH="$root" # the caller's would come before the pins; configs import each other
# XLA takes and gives back its scratch memory at every step: in pages of 4 KiB that is a fifth of the
# time of a step on a CPU. Pages of 2 MiB where the C library is glibc; ignored elsewhere.
export GLIBC_TUNABLES="${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}"
# As -P, for the processes that it starts, too: without it Python would look for our modules in the
# caller's folder first, and pictures from somebody else may lie beside a configs/ or a defect_jax/.
export PYTHONSAFEPATH=1
exec "$root/.venv/bin/python" -m "$@"
