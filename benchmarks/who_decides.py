"""Misses and false alarms of the chosen way to decide, beside those of each fixed one.

    launch/module.sh benchmarks.who_decides --workdirs=runs/a,runs/b --rules=best_f1,least_cost

Thresholds and who decides come from each run's validation split, the counts from its test split.
"""

import dataclasses
import pathlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from absl import app, flags
from ml_collections import ConfigDict

from defect_jax.decision import DecisionRule
from defect_jax.decision.choose import choose
from defect_jax.decision.held_out import Validation
from defect_jax.decision.record import REJECTS_NOTHING
from defect_jax.decision.rules import RULES, rates
from defect_jax.decision.ways import WAYS, verdict
from defect_jax.distributed.sharding import one_device_mesh
from defect_jax.evaluation.evaluator import make_evaluator
from defect_jax.evaluation.validation import mask_thresholds, to_choose_on
from defect_jax.workdir.best_weights import restore_trained
from defect_jax.workdir.places import recall
from defect_jax.workdir.trained_data import data_to_judge_on

WORKDIRS = flags.DEFINE_list("workdirs", None, "Trained, with their data.", required=True)
RULES_FLAG = flags.DEFINE_list("rules", list(RULES)[:4], "Of config.decision.rule.")
CHOSEN = "chosen"


def main(_: Sequence[str]) -> None:
    """Print a line for each rule and run, and the sums over the runs."""
    tables = {name: answers(pathlib.Path(name)) for name in WORKDIRS.value}
    for rule in RULES_FLAG.value:
        totals = defaultdict(list)
        for name, (val, test, pixel_threshold, options) in tables.items():
            asked = options | {"rule": rule}
            made = choose(val, pixel_threshold, asked, checkpoint_step=0)
            counts = mistakes(made, test, asked)
            for way, count in counts.items():
                totals[way].append(count)
            print(f"{rule}, {name}: {line(counts)}; {made.decides} decides: {made.why}")
        sums = {
            way: [sum(row[0] for row in rows), sum(row[1] for row in rows)]
            for way, rows in totals.items()
        }
        means = {way: float(np.mean([row[2] for row in rows])) for way, rows in totals.items()}
        print(f"{rule}, all: {line({way: (*sums[way], means[way]) for way in sums})}")


def answers(workdir: pathlib.Path) -> tuple[Validation, Validation, float | None, dict]:
    """Return scores and marked areas of val and test, the pixel threshold, and the options."""
    mesh = one_device_mesh()
    trained = restore_trained(workdir, mesh)
    config = ConfigDict(trained.config.to_dict())
    config.update_from_flattened_dict(recall(workdir))
    prepared = data_to_judge_on(config, workdir, {"val", "test"})
    tables, threshold = {}, None
    for name in ("val", "test"):
        split = prepared.splits[name]
        evaluate = make_evaluator(trained.network, split, config, mesh)
        scores = evaluate(trained.ema, mask_thresholds(REJECTS_NOTHING, REJECTS_NOTHING))
        if name == "val":
            threshold = scores.histogram.best_f1_threshold()
        marked = evaluate(
            trained.ema, mask_thresholds(0.0, REJECTS_NOTHING if threshold is None else threshold)
        )
        tables[name] = to_choose_on(split, scores, marked)
    return tables["val"], tables["test"], threshold, config.decision.to_dict()


def mistakes(
    made: DecisionRule, test: Validation, options: dict
) -> dict[str, tuple[int, int, float]]:
    """Return for each way, and for the chosen one, misses, false alarms, and what counts."""
    mask = test.mask_rejects(made.mask_threshold, made.min_area_px)
    found = {}
    for name in WAYS:
        rule = dataclasses.replace(made, decides=name)
        rejected = verdict(test.score, test.mask_score, mask, rule).rejected
        missed = int(((test.label == 1) & ~rejected).sum())
        alarms = int(((test.label == 0) & rejected).sum())
        held = RULES[made.rule].held_out(options, rates(test.label, rejected))
        found[name] = missed, alarms, float(held)
    return found | {CHOSEN: found[made.decides]}


def line(counts: dict[str, tuple[int, int, float]]) -> str:
    """Return misses + false alarms and the mean of what counts, of each way."""
    return ", ".join(f"{way} {m}+{a} ({held:.3f})" for way, (m, a, held) in counts.items())


if __name__ == "__main__":
    app.run(main)
