#!/usr/bin/env bash
# Runs the tests in .venv, which is made or renewed first where need be and given the test
# requirements. Arguments go to pytest:
#
#   launch/test.sh
#   launch/test.sh -x tests/test_losses.py
set -euo pipefail
root="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"

"$root/launch/set_up.sh" test
unset PYTHONHOME PYTHONPATH # would come before the pins
cd -- "$root"
exec "$root/.venv/bin/python" -m pytest "$@"
