#!/usr/bin/env bash
# Runs the program in .venv, which is made or renewed first where need be:
#
#   launch/local.sh --config=configs/synthetic.py:cpu
#
# Needs Python 3.11 or later with venv and pip; PYTHON=/path/to/python3 chooses one. Relative paths
# are the caller's, so start it from the root of the repository for configs/NAME.py.
set -euo pipefail
export DEFECT_JAX_COMMAND="$0" # of which the program shows its user examples
exec "$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)/module.sh" defect_jax.main "$@"
