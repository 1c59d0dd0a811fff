#!/usr/bin/env bash
# What slurm.sbatch, and tpu_vm.sh share; they source it.

dry_run=false # or true after --dry-run

say() { printf 'defect_jax: %s\n' "$*" >&2; }

# refuse WORDS…: says what is to be mended, and ends with 2.
refuse() {
  say "$*"
  exit 2
}

# quoted WORDS…: prints them so that a shell reads the same words, and so do people.
quoted() {
  local word quote="'" escaped="'\\''" separator=''
  for word in "$@"; do
    [[ "$word" =~ ^[A-Za-z0-9_@%+=:,./-]+$ ]] || word="'${word//$quote/$escaped}'"
    printf '%s%s' "$separator" "$word"
    separator=' '
  done
}

# call COMMAND…: runs it; after --dry-run, prints it.
call() {
  if "$dry_run"; then
    quoted "$@"
    echo
  else
    "$@"
  fi
}
