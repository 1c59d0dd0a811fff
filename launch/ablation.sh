#!/usr/bin/env bash
# Compares variants of a config, in .venv, which is made or renewed first where need be:
#
#   launch/ablation.sh --config=configs/magnetic_tile_ablation.py:cpu
#
# Started twice, by hand or as an array job, the processes share the work.
set -euo pipefail
exec "$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)/module.sh" \
  defect_jax.ablation "$@"
