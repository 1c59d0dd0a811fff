"""All that training would refuse or remark, in one pass and nothing changed (`--mode=check`)."""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from defect_jax.data.files.region_files import read_region
from defect_jax.data.geometry.input_spec import framing_of
from defect_jax.data.pipeline.batches import refuse_one_kind
from defect_jax.data.pipeline.pasting import refuse_no_surface
from defect_jax.data.prepare.check import Inspection, as_fault, inspect
from defect_jax.data.prepare.data_info import data_info
from defect_jax.data.prepare.folds import dealt_out, in_words, pooled
from defect_jax.data.prepare.prepared import Prepared
from defect_jax.data.prepare.remarks import remarks, write_proposal
from defect_jax.data.prepare.unprepared import unprepared
from defect_jax.data.sources.folds import FIELD
from defect_jax.data.sources.records import SPLITS, Fault
from defect_jax.distributed.sharding import make_mesh
from defect_jax.evaluation.validation import compared_checkpoints, refuse_empty_promise
from defect_jax.plan.plan import Plan, filled_in, is_open, make_plan
from defect_jax.runtime.console import answer
from defect_jax.runtime.errors import UserError
from defect_jax.training.fit import check_batch_size, make_network, state_shapes
from defect_jax.training.optimizer import make_tx
from defect_jax.training.stages import first_stage, has_first_stage
from defect_jax.workdir import run_config
from defect_jax.workdir.config_fields import FIELDS, left_open
from defect_jax.workdir.config_rules import rules_of
from defect_jax.workdir.config_schema import wrong
from defect_jax.workdir.trackers import refuse_missing
from defect_jax.workdir.weight_shapes import ema_shapes

Look = Callable[[], Any]  # raises a UserError where training would


def check(config: ConfigDict, output: Path | None = None) -> None:
    """Print counts, notes, groups to propose, and every fault of a config and of its data.

    Args:
        output: a folder to write the proposed groups.csv into.

    Raises:
        UserError: there is at least one fault.
    """
    name = config.data.name
    faults = value_faults(config)
    try:
        read_region(config.data)
    except UserError as error:
        faults.append(as_fault(error))
        config.data.region = ""
    inspected = inspect(config.data)
    prepared, folds = _prepared(config, inspected, faults)
    plan = _plan(config, prepared) if is_open(config) else None
    config = filled_in(config, plan) if plan else config
    if not is_open(config):  # without an image there is no plan, and nothing to try
        faults += faults_at_work(config, inspected, prepared, values_are_wrong=bool(faults))
    faults += inspected.faults
    for line in remarks(name, inspected):
        answer(line)
    if output is not None and inspected.stored:
        answer(f"{name}: wrote {write_proposal(inspected, output)}")
    for fault in faults:
        answer(str(fault))
    for line in plan.lines() if plan else []:
        answer(line)
    if folds:
        answer(folds)
    if faults:
        raise UserError(f"{name}: faults to mend: {len(faults)}, listed above")
    answer(f"{name}: no fault found")


def _prepared(
    config: ConfigDict, inspected: Inspection, faults: list[Fault]
) -> tuple[Prepared | None, str]:
    """Return the data as training has them, and a line about folds where it deals them out.

    Of a cross-fitted run that is what is one for all networks, see `pooled`.

    Args:
        faults: of the values; why folds cannot be dealt out is added.
    """
    if inspected.info is None:
        return None, ""
    prepared = unprepared(config.data, inspected)
    if not config.data.folds or any(fault.where == FIELD for fault in faults):
        return prepared, ""
    try:
        dealt = dealt_out(prepared, config.data)
    except UserError as error:
        faults.append(as_fault(error))
        return prepared, ""
    return pooled(dealt), in_words(dealt)


def _plan(config: ConfigDict, prepared: Prepared | None) -> Plan | None:
    """Return the plan that training would make; None where there is no image to make it by."""
    if prepared is None or not prepared.splits["train"].rows:
        return None
    return make_plan(config, prepared)


def value_faults(config: ConfigDict) -> list[Fault]:
    """Return every value that training refuses at its first look."""
    try:
        run_config.check_values(config)
        return []
    except UserError as error:
        first = as_fault(error)
    others = [fault for fault in _broken_rules(config) if fault != first]
    return [first, *others]


def _broken_rules(config: ConfigDict) -> Iterator[Fault]:
    values = flatten_dict(json.loads(json.dumps(config.to_dict(), default=str)), sep=".")
    for field in left_open(values):
        del values[field]
    alone = ((field, (rule.holds, rule.words)) for field, rule in FIELDS.items())
    together = {} if is_open(config) else rules_of(config)
    for field, (holds, rule) in (*alone, *together.items()):
        # A rule may rest on another field, which may be anything here.
        with contextlib.suppress(TypeError, ValueError, ArithmeticError, LookupError):
            if field in values and not holds(values[field]):
                yield as_fault(UserError(wrong(field, values[field], rule)))


def faults_at_work(
    config: ConfigDict, inspected: Inspection, prepared: Prepared | None, values_are_wrong: bool
) -> list[Fault]:
    """Return what fails when network, optimizer and batches are made of a config and the data.

    Args:
        prepared: the data as training has them.
        values_are_wrong: whether the config has faults already: what else goes wrong follows from
            them, unless it is said in as many words.
    """
    faults = []
    expected = (Exception,) if values_are_wrong else ()
    for look in (*_looks_at_config(config), *_looks_at_data(config, inspected, prepared)):
        try:
            look()
        except UserError as error:
            faults += [fault for fault in [as_fault(error)] if fault not in faults]
        except expected:
            continue
    return faults


def _looks_at_config(config: ConfigDict) -> Iterator[Look]:
    """Yield what needs no data, each by itself, so that one fault does not hide another."""
    yield lambda: check_batch_size(
        config.train.batch_size, make_mesh(config.mesh.data, config.mesh.fsdp)
    )
    yield lambda: make_network(config)
    yield lambda: make_tx(config)
    yield lambda: refuse_missing(config.track)


def _looks_at_data(
    config: ConfigDict, inspected: Inspection, prepared: Prepared | None
) -> Iterator[Look]:
    """Yield what follows from the config and the images that have no fault by themselves."""
    if prepared is None:
        return
    train, framing = prepared.splits["train"], framing_of(config.data)
    if config.data.folds:
        yield lambda: refuse_empty_promise(config, train, 1)
    else:
        val, compared = prepared.splits["val"], compared_checkpoints(config)
        yield lambda: refuse_empty_promise(config, val, compared)
    if train.rows:
        yield lambda: data_info(prepared, config.model.num_classes)
        if not config.data.folds:  # which have good and defective ones
            # An image whose mask has a fault is among these, and is not among the stored ones.
            listed = [record for record in inspected.found.records if record.split == "train"]
            labels = [r.label for r in listed if r.masked or framing.needs_good_images]
            yield partial(_refuse_missing_kinds, labels, config.data, framing.needs_good_images)
    stages = [config, first_stage(config)] if has_first_stage(config) else [config]
    for stage in stages:
        yield partial(_form_state, stage, inspected.info.channels)
    for split in SPLITS:
        for row in prepared.splits[split].rows:
            yield partial(framing.place, (row.height, row.width), row.id)


def _refuse_missing_kinds(labels: Sequence[int], data: ConfigDict, needs_good: bool) -> None:
    if data.positive_fraction is not None:
        refuse_one_kind(labels, data.positive_fraction, needs_good)
    refuse_no_surface(labels, data.augment.paste, needs_good)


def _form_state(config: ConfigDict, channels: int) -> None:
    """Go through the making of a run's first state without its memory."""
    variables = ema_shapes(make_network(config), (1, *config.data.size, channels))
    state_shapes(variables, make_tx(config), config)
