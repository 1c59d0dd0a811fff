"""Training on one GPU, beside the same network compiled by PyTorch: images/s and share of peak.

    launch/module.sh benchmarks.gpu --rival-python=rivals/bin/python

U-Net++ of full width on images of 640x256 px in bfloat16, each at the batch that suits it best.
Contenders run in turn, as in `benchmarks.step`, and must agree in the loss of the first step to
what bfloat16 leaves. The share of peak counts the products that the network needs, as XLA counts
them, and not what is computed twice. A batch that does not fit ends the search for larger ones.
The last line is all of it as JSON. On a machine without a GPU it says so, and ends with 2.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax

from benchmarks import step
from benchmarks.machine import joined, machine
from benchmarks.step_contenders import MEASURING, OURS, PLAIN
from benchmarks.turns import Failed, Program

CONTENDERS = (PLAIN, MEASURING, "PyTorch, torch.compile")
# bfloat16 without sparsity, TFLOP/s, from NVIDIA's data sheets of the H100 (SXM and PCIe), the
# H200, the A100, the L4 and the L40S.
PEAK_TFLOPS = {
    "H100 PCIe": 756.0,
    "H100": 989.0,
    "H200": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L4": 121.0,
}
FLOP_A_IMAGE = 517e9  # forward, backward and update at 640x256, `cost_analysis` of XLA
MOST_DIFFERENCE = 0.02  # of the first loss: bfloat16 has eight bits


def peak_flops(device_kind: str) -> float | None:
    """Return the figure of the first name in the table that the device's name contains, or None.

    >>> peak_flops("NVIDIA H100 80GB HBM3"), peak_flops("NVIDIA L40S"), peak_flops("cpu")
    (989000000000000.0, 362000000000000.0, None)
    """
    return next((1e12 * peak for name, peak in PEAK_TFLOPS.items() if name in device_kind), None)


def start(folder: Path, given: argparse.Namespace) -> dict[str, Program]:
    """Return contenders that have taken their first step; none where one has no room."""
    programs: dict[str, Program] = {}
    for name in CONTENDERS:
        if name not in OURS and not given.rival_python:
            continue
        python = sys.executable if name in OURS else given.rival_python
        arguments = [name, str(folder), str(os.cpu_count())]
        programs[name] = Program(python, "benchmarks.step_contenders", arguments)
        try:
            seconds = programs[name].ask("ready")
        except Failed as failed:
            print(f"{name}: {failed}", flush=True)
            end(programs)
            return {}
        print(f"{name}: first step after {seconds:.1f} s", flush=True)
    return programs


def end(programs: dict[str, Program]) -> None:
    """Free their memory."""
    for program in programs.values():
        program.close()


def measure(batch: int, given: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return the contender -> seconds of a step, round by round, and its memory; empty: no room."""
    given.batch, given.encoder, given.decoder = batch, "plain", "unetplusplus"
    config = step.config_of(given)
    config.model.dtype = given.dtype
    with tempfile.TemporaryDirectory() as name:
        step.write(config, Path(name))
        programs = start(Path(name), given)
        if not programs:
            return {}
        check_alike({name: each.ask("losses")[0]["loss"] for name, each in programs.items()})
        seconds: dict[str, list[float]] = {name: [] for name in programs}
        for _ in range(given.rounds):
            for name, program in programs.items():
                seconds[name].append(program.ask("stream", calls=given.calls))
        found = {
            name: {
                "seconds": seconds[name],
                "images_per_second": batch / statistics.median(seconds[name]),
                "memory_mb": program.ask("device_memory_mb"),
                "versions": program.ask("versions"),
            }
            for name, program in programs.items()
        }
        end(programs)
    return found


def check_alike(losses: dict[str, float]) -> None:
    """Raise SystemExit where they differ by more than rounding."""
    first, *others = losses.values()
    if any(abs(other / first - 1) > MOST_DIFFERENCE for other in others):
        sys.exit(f"the contenders do not compute the same: {losses}")


def search(given: argparse.Namespace) -> dict[int, dict[str, dict[str, Any]]]:
    """Return the batch -> what was measured, up to the first one that does not fit."""
    found = {}
    for batch in map(int, given.batches.split(",")):
        print(f"batch {batch}", flush=True)
        measured = measure(batch, given)
        if not measured:
            break
        found[batch] = measured
        print(json.dumps({name: each["images_per_second"] for name, each in measured.items()}))
    return found


def best_of(found: dict[int, dict[str, dict[str, Any]]], name: str) -> tuple[int, dict[str, Any]]:
    """Return the batch with the most images a second, and its figures."""
    batch = max(found, key=lambda batch: found[batch][name]["images_per_second"])
    return batch, found[batch][name]


def table(found: dict[int, dict[str, dict[str, Any]]], peak: float | None, share: float) -> str:
    """Return Markdown, each contender at its best batch."""
    lines = [
        "| | batch | images/s | share of peak | memory, MB | time over PyTorch's |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    names = next(iter(found.values()))
    rival = best_of(found, CONTENDERS[-1])[1] if CONTENDERS[-1] in names else None
    for name in names:
        batch, best = best_of(found, name)
        speed = best["images_per_second"]
        of_peak = "?" if peak is None else f"{100 * speed * FLOP_A_IMAGE * share / peak:.1f} %"
        ratio = "" if rival is None else f"{rival['images_per_second'] / speed:.2f}"
        memory = "?" if best["memory_mb"] is None else f"{best['memory_mb']:.0f}"
        lines.append(f"| {name} | {batch} | {speed:.1f} | {of_peak} | {memory} | {ratio} |")
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--rival-python", help="python of the rivals' environment, with CUDA")
    parser.add_argument("--batches", default="16,32,64,128", help="to try, smallest first")
    parser.add_argument("--widths", default="32,64,128,256,512", help="channels of each row")
    parser.add_argument("--size", default="640x256", help="height and width, px")
    parser.add_argument("--dtype", default="bfloat16", help="of the computation")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=10, help="steps of each in each round")
    parser.add_argument("--on-cpu", action="store_true", help="try the command out, slowly")
    return parser.parse_args()


def main() -> None:
    # This process and all contenders are on one card: none may take its memory before it needs it.
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    given = arguments()
    device = jax.devices()[0]
    if device.platform != "gpu" and not given.on_cpu:
        print(f"benchmarks.gpu: no GPU here (JAX sees {device.device_kind})", file=sys.stderr)
        sys.exit(2)
    found = search(given)
    if not found:
        sys.exit("benchmarks.gpu: not even the smallest batch fits")
    height, width = map(int, given.size.split("x"))
    share = height * width / (640 * 256)
    print(f"\n{device.device_kind}\n\n{table(found, peak_flops(device.device_kind), share)}")
    versions = {name: each["versions"] for name, each in next(iter(found.values())).items()}
    report = {"machine": machine(os.cpu_count()), "device": device.device_kind}
    report["machine"]["versions"] = joined(versions)
    print(f"\n{json.dumps(report | {'arguments': vars(given), 'batches': found})}")


if __name__ == "__main__":
    main()
