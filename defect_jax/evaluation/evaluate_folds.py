"""From the networks of a cross-fitted run to its decision, and to a page with every part once."""

from collections.abc import Sequence

from jax.sharding import Mesh
from ml_collections import ConfigDict

from defect_jax.data.prepare.folds import OUT_OF_FOLD, folds_of, out_of_fold
from defect_jax.data.prepare.prepared import Prepared
from defect_jax.decision import DecisionRule
from defect_jax.distributed import processes
from defect_jax.distributed.sharding import make_mesh
from defect_jax.evaluation.evaluator import Scores, make_evaluator
from defect_jax.evaluation.keep_known import keep_known
from defect_jax.evaluation.out_of_fold import HeldOut, decide_on, decide_on_others, merged_scores
from defect_jax.evaluation.publish import pruned, publish, shown
from defect_jax.evaluation.result_files import ResultFolder
from defect_jax.evaluation.result_tables import ResultTables, tabulate_folds
from defect_jax.metrics.summary import Metrics
from defect_jax.models.initialise import Variables
from defect_jax.models.network import SegmentationNetwork
from defect_jax.runtime.console import say
from defect_jax.runtime.paths import AnyPath
from defect_jax.workdir import kept_split
from defect_jax.workdir.best_weights import decision_for
from defect_jax.workdir.members import restore_members
from defect_jax.workdir.trained_data import data_to_judge_on


def evaluate_folds(config: ConfigDict, workdir: AnyPath) -> Metrics | None:
    """Score each part by the network that has not seen it, decide, write metrics and report.

    The decision of all parts together, which is shipped, is kept in `decision.json`; each fold is
    judged by one that the other folds made.

    Returns:
        The contents of eval/folds/metrics.json; None on hosts other than the first.
    """
    mesh = make_mesh(config.mesh.data, config.mesh.fsdp)
    step, members = restore_members(config, workdir, mesh)
    prepared = data_to_judge_on(config, workdir, {OUT_OF_FOLD})
    keep_known(config, workdir, step, members, mesh)
    folds = held_out_folds(config, prepared, members, mesh)
    made = decide_on(folds, config, step)
    say(f"{OUT_OF_FOLD}: step {step}, thresholds from all {len(folds)} folds: {shown(made)}")
    rules = [decide_on_others(folds, number, config, step) for number in range(len(folds))]
    if not processes.is_first():
        for fold, rule in zip(folds, rules, strict=True):
            fold.decided(rule)  # every host takes part, one writes
        return None
    return publish_folds(config, workdir, prepared, folds, rules, made)


def decision_of_folds(config: ConfigDict, workdir: AnyPath, mesh: Mesh) -> DecisionRule:
    """Return the decision of all parts that the workdir has for these options, or make it."""
    options = config.decision.to_dict()
    if made := decision_for(workdir, config.train.steps, config.model.prune, options):
        return made
    step, members = restore_members(config, workdir, mesh)
    prepared = data_to_judge_on(config, workdir, {OUT_OF_FOLD})
    return decide_on(held_out_folds(config, prepared, members, mesh), config, step)


def held_out_folds(
    config: ConfigDict, prepared: Prepared, members: Sequence[Variables], mesh: Mesh
) -> list[HeldOut]:
    """Score each fold by the network that has not seen it.

    Args:
        members: variables of the networks, that of fold 0 first.
    """
    network, folds = SegmentationNetwork(**config.model), []
    for name, member in zip(folds_of(prepared.splits), members, strict=True):
        split = prepared.splits[name]
        folds.append(HeldOut(split, member, make_evaluator(network, split, config, mesh)))
    return folds


def publish_folds(
    config: ConfigDict,
    workdir: AnyPath,
    prepared: Prepared,
    folds: Sequence[HeldOut],
    rules: Sequence[DecisionRule],
    made: DecisionRule,
) -> Metrics:
    """Decide on each fold by its rule; write all of eval/folds, the report and decision.json.

    Args:
        rules: of each fold, made by the others.
        made: of all folds.
    """
    split, results = out_of_fold(prepared), ResultFolder(workdir / "eval" / OUT_OF_FOLD)

    def judge() -> tuple[ResultTables, Scores]:
        classes = list(config.data_info.classes)
        scores = [
            fold.decided(rule, results.mask_of(fold.split, classes))
            for fold, rule in zip(folds, rules, strict=True)
        ]
        decided = [(f.split, own, r) for f, own, r in zip(folds, scores, rules, strict=True)]
        together = merged_scores(scores)
        facts = config.data_info, prepared.info.leaking
        return tabulate_folds(split, decided, together, *facts), together

    steps = f"{len(folds)} networks of step {made.checkpoint_step}"
    return publish(
        config,
        workdir,
        results,
        report_path(workdir, results),
        split,
        judge,
        title=f"{config.data.name}, {steps}{pruned(config.model.prune)}",
        split=OUT_OF_FOLD,
        decision=made,
        notes=[*notes_on(config, rules), *prepared.info.notes],
        history=[],
        decided_by_others=True,
    )


def report_path(workdir: AnyPath, results: ResultFolder) -> AnyPath:
    """Return where the page goes: that of the test split, where there is one, is the run's."""
    has_test = "test" in kept_split.judged(workdir)
    return (results.final if has_test else workdir / "eval") / "report.html"


def notes_on(config: ConfigDict, rules: Sequence[DecisionRule]) -> list[str]:
    """Return what the page assumes."""
    folds = len(rules)
    notes = [
        f"cross-fitted: {folds} networks, each trained without one fold of the parts; every part "
        "is judged once, by the network that has not seen it and by thresholds that the other "
        "folds chose",
        f"the thresholds of this page and of decision.json were chosen on all parts, each scored "
        f"by one network. They decide for all {folds} networks together, whose mean is steadier "
        "than one of them: the mistakes counted here are those of single networks",
        "what holds here holds for parts that are made and photographed like these",
    ]
    asked, taken = config.decision.miss_rate, max(rule.options["miss_rate"] for rule in rules)
    if taken > asked:
        notes.append(
            f"the other folds alone have too few defective parts to promise a miss rate of "
            f"{asked:g}: each fold is judged by thresholds that promise at most {taken:g}; those "
            "of all parts keep the promise"
        )
    return notes
