"""How many wrong labels are among the first suspects, where we know which labels are wrong.

    launch/module.sh benchmarks.wrong_labels --data=magnetic_tile.tar --out=wrong_labels

Makes labels of Magnetic Tile wrong (`wrong_labels_set.py`), trains a network for each of the five
folds of its protocol, and joins what each says of its test split, whose images it has not seen. A
finished run is kept: the same command goes on.

OUT/set/          the images, with wrong labels
OUT/truth.csv     what is wrong with each
OUT/fold_K/       the same, with fold K for testing
OUT/run_K/        the workdir trained on it
OUT/suspects.csv  all images, best suspects first, and what is wrong with each

Prints for several orders of the images: the share of wrong ones among as many of the first as there
are wrong ones, the share of wrong ones found there and among twice as many, and the average
precision; then for each kind of error, against all images that are right. The settings of
`metrics/suspects.py` were chosen on folds 0 and 1, so folds 2 to 4 are shown by themselves, too.
"""

import argparse
import csv
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.runs import ROOT
from benchmarks.wrong_labels_set import CUT, EMPTIED, FOLDS, MARKED, MOVED, RELEASE, fold_view, make
from defect_jax.metrics.ranking import average_precision
from defect_jax.metrics.suspects import Evidence, Suspects, rank, seen
from defect_jax.runtime.escapes import csv_text

KINDS = (MARKED, EMPTIED, CUT, MOVED, RELEASE)
SETTLED_ON, LEFT = (0, 1), (2, 3, 4)
SEED = 0


def main() -> None:
    """Make, train and evaluate what is missing; print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    flags = parser.parse_args()
    if not (flags.out / "truth.csv").exists():
        made = make(flags.data, flags.out / "set", flags.out / "truth.csv", SEED)
        for fold in range(FOLDS):
            fold_view(flags.out / "set", made, fold, flags.out / f"fold_{fold}")
    for fold in range(FOLDS):
        train(flags.out, fold, flags.steps)
    truth = {row["id"]: row for row in read(flags.out / "truth.csv")}
    evidence = [e for fold in range(FOLDS) for e in read_evidence(flags.out, fold)]
    evidence.sort(key=lambda e: e.id)  # where an order ties, none is favoured
    found = rank(evidence)
    write_joined(flags.out / "suspects.csv", found, truth)
    first = found.images[: found.to_look_at]
    print(f"{found.wrong_labels} and {found.wrong_masks} masks estimated, ", end="")
    print(f"{sum(truth[s.id]['kind'] != '' for s in first)} of {len(first)} are wrong")
    for name, folds in (("all", range(FOLDS)), ("0, 1", SETTLED_ON), ("2, 3, 4", LEFT)):
        kept = [e for e in evidence if int(truth[e.id]["fold"]) in folds]
        print(f"\nFolds {name}\n{table(kept, [truth[e.id]['kind'] for e in kept])}")


def train(out: Path, fold: int, steps: int) -> None:
    """Train on a fold, or evaluate a network that an earlier version has trained."""
    workdir = out / f"run_{fold}"
    if (workdir / "eval/test/suspects.csv").exists():
        return
    command = [sys.executable, "-m", "defect_jax.main", f"--workdir={workdir}"]
    if (workdir / "eval/test/metrics.json").exists():
        command += ["--mode=evaluate"]
    else:
        command += ["--config=configs/folder.py:cpu", f"--config.train.steps={steps}"]
        command += [f"--config.data.root={(out / f'fold_{fold}').resolve()}"]
    subprocess.run(command, cwd=ROOT, check=True)


def read(path: Path) -> list[dict[str, str]]:
    """Return the lines of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_evidence(out: Path, fold: int) -> list[Evidence]:
    """Return what the network of a fold says of its test split."""
    rows = read(out / f"run_{fold}" / "eval/test/suspects.csv")
    kinds = Evidence.__annotations__
    return [
        Evidence(**{n: kinds[n](row[n]) for n in kinds} | {"id": row["id"].partition("/test/")[2]})
        for row in rows
    ]


def write_joined(path: Path, found: Suspects, truth: dict[str, dict[str, str]]) -> None:
    """Write all images in one order, with what is wrong with each."""
    lines = [("wrong", "class", *found.images[0]._fields)]
    lines += [(truth[s.id]["kind"], truth[s.id]["class"], *s) for s in found.images]
    path.write_text(csv_text(lines), encoding="utf-8")


def orders(evidence: Sequence[Evidence]) -> dict[str, np.ndarray]:
    """Return a number an image for each way to order them, highest first."""
    ours = _suspicion(evidence)
    single = _suspicion([e._replace(group=e.id) for e in evidence])
    label, score = (np.array([getattr(e, n) for e in evidence]) for n in ("label", "score"))
    iou = np.array([_iou(e) for e in evidence])
    softmin = np.array([e.given_softmin for e in evidence])
    return {
        "ours": ours,
        "ours, each image by itself": single,
        "label against score": np.abs(label - score),
        "label against the part's score": np.abs(label - seen(evidence)),
        "1 - IoU": 1.0 - iou,
        "the larger of both": np.maximum(np.abs(label - score), 1.0 - iou),
        "softmin of pixels": 1.0 - softmin,
    }


def _suspicion(evidence: Sequence[Evidence]) -> np.ndarray:
    suspicion = {s.id: s.suspicion for s in rank(evidence).images}
    return np.array([suspicion[e.id] for e in evidence])


def _iou(of: Evidence) -> float:
    """Return the overlap of both masks; 1 where both are empty, since they agree."""
    union_px = of.true_px + of.predicted_px - of.intersection_px
    return of.intersection_px / union_px if union_px else 1.0


def table(evidence: Sequence[Evidence], wrong: Sequence[str]) -> str:
    """Return the figures of all orders as a Markdown table."""
    kinds = np.array(wrong)
    counts = {kind: int(np.sum(kinds == kind)) for kind in KINDS}
    number = sum(counts.values())
    by_kind = [f"AP, {kind} ({count})" for kind, count in counts.items()]
    names = ("order", f"precision at {number}", f"recall at {2 * number}", "AP", *by_kind)
    lines = ["| " + " | ".join(names) + " |", "| --- " * len(names) + "|"]
    chance = [number / len(kinds), 2 * number / len(kinds), number / len(kinds)]
    chance += [count / (len(kinds) - number + count) for count in counts.values()]
    rows = {"random": chance} | {
        name: figures(value, kinds, number) for name, value in orders(evidence).items()
    }
    return "\n".join(
        lines + [f"| {name} | " + " | ".join(map(_shown, row)) + " |" for name, row in rows.items()]
    )


def figures(suspicion: np.ndarray, kinds: np.ndarray, number: int) -> list[float | None]:
    """Return a row of the table."""
    wrong = kinds != ""
    first = wrong[np.argsort(-suspicion, kind="stable")]
    whole = [first[:number].mean(), first[: 2 * number].sum() / number]
    whole.append(average_precision(wrong, suspicion))
    return whole + [_ap_of(kind, suspicion, kinds) for kind in KINDS]


def _ap_of(kind: str, suspicion: np.ndarray, kinds: np.ndarray) -> float | None:
    among = (kinds == kind) | (kinds == "")
    return average_precision(kinds[among] == kind, suspicion[among])


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    main()
