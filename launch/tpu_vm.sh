#!/usr/bin/env bash
# Trains on a Cloud TPU VM, one host or a slice of many, from your own machine with gcloud:
#
#   launch/tpu_vm.sh watch --name=defects --zone=europe-west4-b --type=v5litepod-16 --spot -- \
#     --config=configs/ksdd2.py --config.data.root=gs://BUCKET/KSDD2.zip \
#     --workdir=gs://BUCKET/runs/ksdd2
#
# `watch` does it all, and needs to go on running: it creates the TPU, installs, runs, makes a new
# one after each preemption and goes on, and deletes it at the end. Or step by step:
#
#   create    --name --zone --type [--spot] [--version=RUNTIME] [options of gcloud … create]
#   install   copies this checkout to all workers and makes .venv there
#   run       -- ARGS…    starts the program on all workers; it goes on when you disconnect
#   status    the TPU's state, and running, the exit code, killed or none for each worker
#   log       follows the log of --worker=0, or of all with --worker=all
#   stop      saves a checkpoint, and ends the program; the TPU stays, and costs
#   delete    ends all cost but that of the bucket
#
# Options of all: --name, --zone, --project, and --dry-run, which prints the commands instead. Of
# watch also --keep (do not delete at the end), --poll_s=60 and --max-restarts=20. The options of
# gcloud may be given to watch as well. See docs/clusters.md.
set -euo pipefail
root="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
source "$root/launch/common.sh"

name=defect-jax zone='' type='' version='' worker=0
spot=false keep=false poll_s=60 max_restarts=20
verb='' project=() for_create=() arguments=()
while [[ $# -gt 0 ]]; do
  case "$1" in
    --name=*) name="${1#*=}" ;;
    --zone=*) zone="${1#*=}" ;;
    --project=*) project=("$1") ;;
    --type=*) type="${1#*=}" ;;
    --version=*) version="${1#*=}" ;;
    --worker=*) worker="${1#*=}" ;;
    --poll_s=*) poll_s="${1#*=}" ;;
    --max-restarts=*) max_restarts="${1#*=}" ;;
    --spot) spot=true ;;
    --keep) keep=true ;;
    --dry-run) dry_run=true ;;
    --)
      shift
      arguments=("$@")
      break
      ;;
    --*) for_create+=("$1") ;;
    *)
      [[ -z "$verb" ]] || refuse "$1: options are --NAME=VALUE, and those of the program follow --"
      verb="$1"
      ;;
  esac
  shift
done

# tpu VERB ARGS…: gcloud for this TPU; asks nothing. (bash before 4.4 calls an empty array unset.)
tpu() {
  call gcloud compute tpus tpu-vm "$@" --quiet --zone="$zone" ${project[@]+"${project[@]}"}
}

# on_workers WORKERS COMMAND: for the shell of each.
on_workers() { tpu ssh "$name" --worker="$1" --command="$2"; }

# Prints the system image that goes with --type.
image() {
  case "$type" in
    v5litepod-*) echo v2-alpha-tpuv5-lite ;;
    v5p-*) echo v2-alpha-tpuv5 ;;
    v6e-*) echo v2-alpha-tpuv6e ;;
    v[234]-*) echo tpu-ubuntu2204-base ;;
    *) refuse "--version is missing: see gcloud compute tpus tpu-vm versions list --zone=$zone" ;;
  esac
}

create() {
  local options=(--accelerator-type="$type" --version="$version")
  if "$spot"; then options+=(--spot); fi
  tpu create "$name" "${options[@]}" ${for_create[@]+"${for_create[@]}"}
}

# Of an earlier version, what this one does not have would still be imported.
unpack='mkdir -p defect_jax && rm -rf defect_jax/defect_jax defect_jax/configs defect_jax/launch'
unpack+=' && tar -xzf defect_jax.tar.gz -C defect_jax && defect_jax/launch/tpu_worker.sh install'

# Chained, since watch goes on after a failure: a function that is asked for its result ignores -e.
install() {
  local folder result=0
  folder="$(mktemp -d)"
  call tar -C "$root" -czf "$folder/defect_jax.tar.gz" --exclude=__pycache__ \
    defect_jax configs launch pyproject.toml README.md LICENSE &&
    tpu scp "$folder/defect_jax.tar.gz" "$name:" --worker=all &&
    on_workers all "$unpack" || result=$?
  rm -rf -- "$folder"
  return "$result"
}

run() {
  on_workers all "defect_jax/launch/tpu_worker.sh run $(quoted ${arguments[@]+"${arguments[@]}"})"
}

# Before install nothing is there, which is no failure.
status() { on_workers all 'defect_jax/launch/tpu_worker.sh status || true'; }

delete() { tpu delete "$name"; }

# Prints the TPU's state, such as READY or PREEMPTED, or MISSING.
state() {
  local answer
  if answer="$(tpu describe "$name" --format='value(state)' 2>&1)"; then
    tail -n 1 <<<"$answer"
  elif [[ "$answer" == *NOT_FOUND* ]]; then
    echo MISSING
  else
    printf '%s\n' "$answer" >&2
    echo UNKNOWN
  fi
}

# Says what the workers' statuses mean for the run: running, again, or the exit code of all. A fault
# that a worker found is no reason to try again, whatever the others say: they lost that worker.
verdict() {
  local answer word result=0
  if ! answer="$(status)"; then
    echo running # perhaps: the TPU's state will say more
    return
  fi
  answer="$(sed -n 's/.*defect_jax status: \([a-z0-9]*\).*/\1/p' <<<"$answer")"
  for word in ${answer:-none}; do
    case "$word" in
      0) ;;
      running) if [[ "$result" != [1-9]* ]]; then result=running; fi ;;
      75 | 143 | killed | none) if [[ "$result" == 0 ]]; then result=again; fi ;;
      *) result="$word" ;;
    esac
  done
  echo "$result"
}

# Prints what watch would do; what it does depends on the answers.
describe_watch() {
  echo '# at first, and again after each preemption:'
  create && install && run
  echo "# every $poll_s s:"
  tpu describe "$name" --format='value(state)'
  status
  echo '# after a preemption, before it is created again:'
  delete
  echo '# at the end:'
  on_workers 0 'tail -n 30 defect_jax/runs/worker.log'
  if ! "$keep"; then delete; fi
}

# One look a round, and one step towards a run that is over: each can fail and be tried again.
watch() {
  local starts=0 code
  trap 'say "TPU $name stays, and costs, until: $0 delete --name=$name --zone=$zone"; exit 130' INT
  while true; do
    case "$(state)" in
      READY)
        code="$(verdict)"
        if [[ "$code" == again && "$starts" -gt "$max_restarts" ]]; then
          say "restarted $max_restarts times (--max-restarts)"
          code=75
        fi
        case "$code" in
          running) ;;
          again)
            starts=$((starts + 1))
            say "start $starts on TPU $name"
            if install && run; then continue; fi
            ;;
          *) break ;;
        esac
        ;;
      MISSING)
        if create; then continue; fi
        # The first time the options may be at fault; later there is no capacity for a while.
        if [[ "$starts" == 0 ]]; then exit 2; fi
        ;;
      PREEMPTED | TERMINATED | STOPPED) if delete; then continue; fi ;;
    esac
    sleep "$poll_s"
  done
  say "the run ended with $code; the end of its log:"
  on_workers 0 'tail -n 30 defect_jax/runs/worker.log' || true
  if "$keep"; then
    say "TPU $name stays, and costs, until: $0 delete --name=$name --zone=$zone"
  else
    delete || say "TPU $name could not be deleted, and costs"
  fi
  exit "$code"
}

[[ -n "$zone" ]] || refuse "--zone=ZONE is missing: see gcloud compute tpus locations list"
"$dry_run" || command -v gcloud >/dev/null || refuse "gcloud is not on PATH: install Google's CLI"
case "$verb" in create | watch) ;; *)
  [[ -z "${for_create[*]-}" ]] || refuse "${for_create[*]}: $verb has no such option" ;;
esac
case "$verb" in create | watch)
  [[ -n "$type" ]] || refuse "--type is missing: see gcloud compute tpus accelerator-types list"
  version="${version:-$(image)}" ;;
esac
case "$verb" in run | watch)
  # All workers write to one workdir, and their disks go when the TPU does.
  [[ " ${arguments[*]-}" =~ \ --?workdir[=\ ](gs|s3):// ]] ||
    refuse "--workdir=gs://BUCKET/FOLDER is missing after --: the disk of a TPU goes with it" ;;
esac

case "$verb" in
  create | install | run | delete) "$verb" ;;
  watch) if "$dry_run"; then describe_watch; else watch; fi ;;
  status)
    tpu describe "$name" --format='value(state)'
    status
    ;;
  log) on_workers "$worker" 'tail -n 50 -F defect_jax/runs/worker.log' ;;
  stop) on_workers all 'defect_jax/launch/tpu_worker.sh stop' ;;
  *) refuse "${verb:-no command}: there are create, install, run, status, log, stop, delete, watch" ;;
esac
