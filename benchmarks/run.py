"""All benchmarks of speed, one after the other: their tables, and one JSON file of the figures.

    launch/module.sh benchmarks.run --rival-python=rivals/bin/python --output=speed.json

Takes an hour or more on two cores. Each suite is a command of its own, see its file:

    step         a training step beside PyTorch's and segmentation_models.pytorch's   step.py
    pretrained_step           the same of a U-Net on EfficientNet-Lite0               step.py
    pretrained_evaluation     its evaluation                                          step.py
    decision     from images to decisions, beside PyTorch's and its ONNX file       predict.py
    input        images decoded, changed, batched, beside PyTorch's DataLoader  input_pipeline.py
    training     training with its images, beside PyTorch's with its DataLoader     training.py
    waiting      training with its data, without data, and data without training      waiting.py
    first_step   from the command to the first step, cold and warm                    first_step.py
    depthwise    depthwise convolutions, beside XLA's own and PyTorch's                depthwise.py
    gpu          a training step in bfloat16 on a GPU, beside compiled PyTorch        gpu.py

The rivals' environment is any in which

    pip install torch==2.14.1 torchvision==0.29.1 onnx==1.23.2 onnxscript==0.7.2 onnxruntime \
        opencv-python-headless segmentation-models-pytorch==0.6.0

has been run; without one only ours is timed, and `input` is left out. Ends with 1 where a suite
failed; one that needs a GPU is left out where there is none.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.turns import ROOT

PRETRAINED = ("--encoder=efficientnet_lite0", "--decoder=unet", "--widths=16,32,48,64,96")
PRETRAINED += ("--size=192x192", "--batch=16")
SUITES = {
    "step": ("benchmarks.step",),
    "pretrained_step": ("benchmarks.step", *PRETRAINED, "--only=JAX;PyTorch, eager"),
    "pretrained_evaluation": ("benchmarks.step", *PRETRAINED, "--evaluate"),
    # 32 images at full width take more than the 24 GB of a small machine.
    "decision": ("benchmarks.predict", "--batches=1"),
    "input": ("benchmarks.input_pipeline",),
    "training": ("benchmarks.training",),
    "waiting": ("benchmarks.waiting",),
    "first_step": ("benchmarks.first_step",),
    "depthwise": ("benchmarks.depthwise",),
    "gpu": ("benchmarks.gpu",),
}
WITH_RIVALS = ("step", "decision", "input", "training", "depthwise", "gpu")
WITH_RIVALS += ("pretrained_step", "pretrained_evaluation")
CANNOT = 2  # exit code of a suite that this machine cannot run


def run(suite: str, rival_python: str | None) -> dict[str, Any] | None:
    """Run a suite, show its lines as they come, and return its last one, which is JSON.

    Returns:
        None where it failed, and {} where this machine cannot run it.
    """
    print(f"\n## {suite}\n", flush=True)
    if suite == "input" and not rival_python:
        print("left out: it needs --rival-python", flush=True)
        return {}
    command = [sys.executable, "-m", *SUITES[suite]]
    if rival_python and suite in WITH_RIVALS:
        command.append(f"--rival-python={rival_python}")
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    last = ""
    for line in process.stdout:
        if last:
            print(last, end="", flush=True)
        last = line
    code = process.wait()
    if code:
        print(last, end="", flush=True)
        return {} if code == CANNOT else None
    return json.loads(last)


def arguments() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--suite", default=",".join(SUITES), help="with a comma between two")
    parser.add_argument("--rival-python", help="python of the rivals' environment")
    parser.add_argument("--output", type=Path, default=Path("speed.json"), help="file to write")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    suites = given.suite.split(",")
    if unknown := set(suites) - SUITES.keys():
        print(f"--suite: no {', '.join(sorted(unknown))}: {', '.join(SUITES)}", file=sys.stderr)
        sys.exit(CANNOT)
    found = {suite: run(suite, given.rival_python) for suite in suites}
    given.output.write_text(json.dumps(found, indent=1) + "\n")
    print(f"\nwrote {given.output}")
    if failed := [suite for suite, report in found.items() if report is None]:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
