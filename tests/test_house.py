"""What the layout of the package promises: light imports, one decision, sources of everything."""

import ast
import pathlib
import subprocess
import sys

import defect_jax
from defect_jax.decision import apply
from defect_jax.deploy import kept_lines, markers, predictor, program
from defect_jax.evaluation import evaluator, result_tables, tiled_evaluator

PACKAGE = pathlib.Path(defect_jax.__file__).parent
ROOT = PACKAGE.parent
# What a line's program does not need to decide on an image.
HEAVY = (
    *("tensorflow_datasets", "grain", "matplotlib", "jinja2", "onnx"),
    *("tensorboardX", "wandb", "mlflow"),
)
TRAINING_ROOMS = ("training", "evaluation", "report", "losses", "balance", "ablation")


def test_a_predictor_imports_no_training_and_no_data_sets():
    code = "import sys, defect_jax.predictor; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    modules = result.stdout.split()
    assert not {name.partition(".")[0] for name in modules} & set(HEAVY)
    ours = [name.split(".") for name in modules if name.startswith("defect_jax.")]
    assert not {parts[1] for parts in ours} & set(TRAINING_ROOMS)
    assert {parts[2] for parts in ours if parts[1:2] == ["data"] and parts[2:]} <= {"geometry"}
    assert len(ours) <= 108  # 104 today: what reads a foreign workdir checks all of it


def test_evaluation_prediction_tiles_and_exported_program_decide_by_one_function():
    assert evaluator.decide_mask is tiled_evaluator.decide_mask is apply.decide_mask
    assert evaluator.mark is markers.mark is program.mark is apply.mark
    assert tiled_evaluator.mark_strips is markers.mark_strips is apply.mark_strips
    assert predictor.decide is program.decide is apply.decide
    assert result_tables.rejects is apply.rejects
    assert result_tables.verdict is kept_lines.verdict is apply.verdict


def compares_with_a_threshold(node):
    """Whether a comparison reads a threshold of a mask or of a score."""
    names = {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}
    return bool(names & {"threshold", "mask_threshold", "pixel_threshold", "min_area_px"})


def test_no_other_file_compares_with_the_thresholds_of_a_decision():
    """What chooses thresholds, checks their ranges, or draws them, decides on no image."""
    expected = {"decision/choose.py", "decision/choose_mask.py", "decision/record.py"}
    expected |= {"report/curve_plots.py"}
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare) and compares_with_a_threshold(node):
                found.add(path.relative_to(PACKAGE).as_posix())
    assert found == expected
