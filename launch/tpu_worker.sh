#!/usr/bin/env bash
# What launch/tpu_vm.sh has every worker of a TPU do, on the worker:
#
#   tpu_worker.sh install | run ARGS… | status | stop
#
# The run goes on when the connection breaks. Its log, exit code and process id are in runs/.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
mkdir -p runs

# Whether somebody holds the lock: the run does, from its start to the end of its last process.
is_running() { ! flock --nonblock runs/worker.lock true; }

command="${1:?install, run, status or stop}"
shift
case "$command" in
  install)
    # The images with Ubuntu 22.04 have Python 3.10, and packages of 3.11.
    fits='import ensurepip, sys; sys.exit(sys.version_info < (3, 11))'
    if ! python3 -c "$fits" 2>/dev/null && ! python3.11 -c "$fits" 2>/dev/null; then
      sudo apt-get update -qq
      # A machine that has just started may be updating itself.
      sudo apt-get install -qq -y -o DPkg::Lock::Timeout=600 python3.11-venv
    fi
    DEFECT_JAX_EXTRAS=cloud launch/set_up.sh run
    ;;
  run)
    exec 9>runs/worker.lock
    if ! flock --nonblock 9; then
      echo "defect_jax: a run is under way on $(hostname): stop it first" >&2
      exit 2
    fi
    rm -f runs/worker.exit runs/worker.pid # of the run before
    nohup setsid "$PWD/launch/tpu_worker.sh" supervise "$@" >>runs/worker.log 2>&1 </dev/null &
    ;;
  supervise)
    launch/local.sh "$@" &
    echo "$!" >runs/worker.pid
    code=0
    wait "$!" || code=$?
    echo "$code" >runs/worker.exit
    ;;
  status) # one word: running, the exit code, killed (with the machine, for example), or none
    if is_running; then
      status=running
    elif [[ -e runs/worker.exit ]]; then
      status="$(<runs/worker.exit)"
    elif [[ -e runs/worker.pid ]]; then
      status=killed
    else
      status=none
    fi
    echo "defect_jax status: $status"
    ;;
  stop)
    if is_running; then kill -TERM "$(<runs/worker.pid)"; fi
    # Until the checkpoint is written.
    flock --timeout 600 runs/worker.lock true
    ;;
  *)
    echo "defect_jax: $command: no such command" >&2
    exit 2
    ;;
esac
