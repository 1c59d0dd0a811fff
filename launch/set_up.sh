#!/usr/bin/env bash
# Brings .venv up to date for local.sh (`set_up.sh run`) or test.sh (`set_up.sh test`): finds a
# Python that fits and has it run set_up.py.
set -euo pipefail
root="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"

# Prints where the first Python is that fits and really runs: a name on PATH can be a shim of a
# version that is not there, and a Debian python3 without python3-venv has no ensurepip. Later
# versions than 3.14 have no wheels of array_record, grain and tensorstore.
find_python() {
  local candidate found
  local fits='import ensurepip, sys, venv; (3, 11) <= sys.version_info[:2] <= (3, 14) or sys.exit(1)'
  if [[ -n "${PYTHON:-}" ]]; then
    set -- "$PYTHON"
  else
    set -- python3 python3.13 python3.12 python3.11 python3.14
  fi
  for candidate in "$@"; do
    if found="$("$candidate" -c "$fits; print(sys.executable)" 2>/dev/null)"; then
      printf '%s\n' "$found"
      return 0
    fi
  done
  printf 'defect_jax: no Python 3.11 to 3.14 with venv and pip found (tried: %s): install one %s\n' \
    "$*" '(on Debian or Ubuntu python3 and python3-venv) or name it: PYTHON=/path/to/python3' >&2
  return 2
}

# Settings of the caller's that would put other packages before the pinned ones, or install others,
# or elsewhere than in .venv. The choice of the package index stays the caller's. Where there are
# several, all of them are searched, as pip does: the hashes decide.
unset PYTHONHOME PYTHONPATH PYTHONSAFEPATH __PYVENV_LAUNCHER__
unset PIP_TARGET PIP_PREFIX PIP_ROOT PIP_CONSTRAINT PIP_REQUIREMENT PIP_NO_BINARY PIP_ONLY_BINARY
unset UV_PYTHON UV_SYSTEM_PYTHON UV_BUILD_CONSTRAINT UV_CONSTRAINT UV_OVERRIDE UV_EXCLUDE
unset UV_EXCLUDE_NEWER UV_NO_BINARY UV_NO_BUILD UV_NO_VERIFY_HASHES UV_REQUIRE_HASHES
export PIP_USER=0 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1
export UV_INDEX_STRATEGY="${UV_INDEX_STRATEGY:-unsafe-best-match}"

python="$(find_python </dev/null)"
cd -- "$root"
exec "$python" -m launch.set_up "${1:?is missing: run or test}" </dev/null
