#!/usr/bin/env python3
"""Trains on GKE, on a TPU slice or on machines with GPUs, with an image of launch/Dockerfile:

    launch/gke.py tpu --image=… --accelerator=tpu-v5-lite-podslice --topology=4x4 --spot -- \\
        --config=configs/ksdd2.py --config.data.root=gs://BUCKET/KSDD2.zip \\
        --workdir=gs://BUCKET/runs/ksdd2
    launch/gke.py gpu --image=… --accelerator=nvidia-h100-80gb --hosts=2 --devices=8 -- …

Fills in launch/gke_jobset.yaml and hands it to kubectl; --dry-run prints that instead. Needs the
JobSet controller in the cluster, a node pool that fits, and nothing but Python and kubectl here.
Options that it does not know, such as --namespace=NAME or --context=NAME, go to kubectl. See
docs/clusters.md.
"""

import argparse
import json
import math
import re
import shlex
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from string import Template

TEMPLATE = Path(__file__).resolve().parent / "gke_jobset.yaml"


class Refused(Exception):
    """Something the user can mend."""


def parser() -> argparse.ArgumentParser:
    """Return the options; those that are missing are refused by `values`, which can say what they
    mean."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("kind", choices=["tpu", "gpu"])
    parser.add_argument("--name", default="defect-jax")
    parser.add_argument("--image", default="", help="as pushed to a registry")
    parser.add_argument("--accelerator", default="", help="label of the machines")
    parser.add_argument("--topology", default="", help="of a TPU slice, such as 4x4")
    parser.add_argument("--hosts", type=int, default=1, help="machines with GPUs")
    parser.add_argument("--devices", type=int, help="of a machine; default 4 chips or 1 GPU")
    parser.add_argument("--max-restarts", type=int, default=20)
    parser.add_argument("--service-account", default="default", help="may use the buckets")
    parser.add_argument("--spot", action="store_true", help="machines that may be taken away")
    parser.add_argument("--dry-run", action="store_true", help="print, apply nothing")
    return parser


def machines(options: argparse.Namespace) -> tuple[int, int]:
    """Return number of machines, and of devices of each.

    Raises:
        Refused: the chips of a slice do not make whole machines.
    """
    if options.kind == "gpu":
        return options.hosts, options.devices or 1
    if not re.fullmatch(r"\d+(x\d+)+", options.topology):
        raise Refused("--topology of the slice is missing, such as --topology=4x4")
    chips, each = math.prod(map(int, options.topology.split("x"))), options.devices or 4
    if chips % each:
        raise Refused(f"--topology={options.topology}: {chips} chips in machines of {each}?")
    return chips // each, each


def values(options: argparse.Namespace, arguments: Sequence[str]) -> dict[str, str]:
    """Return what the template's names stand for.

    Raises:
        Refused: an option is missing or would not be what it is meant to be in YAML.
    """
    # Pods are called NAME-hosts-0-0-xxxxx, in 63 letters.
    if not re.fullmatch(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", options.name):
        raise Refused(f"--name={options.name}: a-z, 0-9 and - are allowed, at most 40 of them")
    for name in ("image", "accelerator", "service_account"):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9./:@_-]*", getattr(options, name)):
            raise Refused(f"--{name.replace('_', '-')} is missing or holds a strange character")
    if not re.search(r"(^|\n)--?workdir[=\n](gs|s3)://", "\n".join(arguments)):
        raise Refused("after -- say --workdir=gs://BUCKET/FOLDER: a pod's disk goes with the pod")
    hosts, devices = machines(options)
    # Kubernetes would fill in $(NAME), but not $$(NAME). A list in JSON is one in YAML.
    words = [word.replace("$(", "$$(") for word in arguments]
    return {
        "NAME": options.name,
        "IMAGE": options.image,
        "ACCELERATOR": options.accelerator,
        "TOPOLOGY": options.topology,
        "SERVICE_ACCOUNT": options.service_account,
        "HOSTS": str(hosts),
        "DEVICES": str(devices),
        "MAX_RESTARTS": str(options.max_restarts),
        "ARGUMENTS": json.dumps(words, ensure_ascii=False),
    }


def manifest(template: str, kinds: Collection[str], values: Mapping[str, str]) -> str:
    """Fill in the template, without the lines marked for what the run is not.

    >>> print(manifest("a: ${A}\\nb: 1 #: spot\\nc: 2 #: gpu several", {"gpu", "spot"}, {"A": "x"}))
    a: x
    b: 1
    """
    lines = [line.partition(" #: ") for line in template.splitlines()]
    kept = [text for text, _, marks in lines if set(marks.split()) <= set(kinds)]
    return Template("\n".join(line for line in kept if not line.startswith("#"))).substitute(values)


def main(words: Sequence[str]) -> int:
    cut = words.index("--") if "--" in words else len(words)
    options, of_kubectl = parser().parse_known_args(words[:cut])
    try:
        given = values(options, words[cut + 1 :])
    except Refused as error:
        print(f"defect_jax: {error}", file=sys.stderr)
        return 2
    kinds = {options.kind} | ({"spot"} if options.spot else set())
    kinds |= {"several"} if int(given["HOSTS"]) > 1 else set()
    text = manifest(TEMPLATE.read_text(), kinds, given)
    command = ["kubectl", "apply", *of_kubectl, "-f", "-"]
    if options.dry_run:
        print(f"{shlex.join(command)} <<'END'\n{text}\nEND")
        return 0
    try:
        return subprocess.run(command, input=text, text=True).returncode
    except FileNotFoundError:
        print("defect_jax: kubectl is not on PATH: install it", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
