"""The plan of a run: what its config leaves open is filled in, shown with reasons, and kept."""

import json
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from defect_jax.data.prepare.prepared import Prepared
from defect_jax.distributed import processes
from defect_jax.plan.facts import DataFacts, data_facts
from defect_jax.plan.machine import MachineFacts, machine_facts
from defect_jax.plan.rules import Choice, choices
from defect_jax.runtime import atomic_files
from defect_jax.runtime.paths import AnyPath
from defect_jax.workdir.config_fields import left_open
from defect_jax.workdir.config_schema import flat, nested

PLAN_FILE = "plan.json"


class Plan(NamedTuple):
    """What was chosen, and from what."""

    data: DataFacts
    machine: MachineFacts
    choices: list[Choice]

    def lines(self) -> list[str]:
        """Return it for a person: each choice as the flag that would choose the same, and why."""
        data, machine = self.data, self.machine
        found = (
            f"plan: {data.images:,} training images of {data.parts:,} parts, {data.defective:,} "
            f"defective; {machine.devices} {machine.kind}, {machine.free_gb:g} GB free. "
            "Other values of these flags change it:"
        )
        flags = [f"--config.{choice.field}={_shown(choice.value)}" for choice in self.choices]
        width = max(map(len, flags), default=0)
        reasons = [choice.reason for choice in self.choices]
        told = [
            '"' if before == reason else reason
            for before, reason in zip([None, *reasons], reasons, strict=False)
        ]
        lines = [f"{flag:<{width}}  {why}" for flag, why in zip(flags, told, strict=True)]
        return [found, *(f"plan:   {line}" for line in lines)]

    def write(self, workdir: AnyPath) -> None:
        """Write plan.json."""
        chosen = {c.field: {"value": c.value, "reason": c.reason} for c in self.choices}
        content = {"data": self.data._asdict(), "machine": self.machine._asdict(), "chosen": chosen}
        atomic_files.write_text(workdir / PLAN_FILE, json.dumps(content, indent=2) + "\n")


def make_plan(config: ConfigDict, prepared: Prepared) -> Plan:
    """Choose what a config leaves open; all hosts get the plan of the first."""

    def made() -> tuple[Any, ...]:
        data, machine = data_facts(prepared), machine_facts()
        given = {field: value for field, value in flat(config).items() if value is not None}
        chosen = choices(data, machine, config.minutes, given)
        return tuple(data), tuple(machine), [tuple(c) for c in chosen if c.field not in given]

    data, machine, chosen = processes.from_first(made)
    return Plan(DataFacts(*data), MachineFacts(*machine), [Choice(*choice) for choice in chosen])


def is_open(config: ConfigDict) -> bool:
    """Return whether a plan has to fill something in."""
    return bool(left_open(flat(config)))


def filled_in(config: ConfigDict, plan: Plan) -> ConfigDict:
    """Return the config with the choices in the places that it left open."""
    return nested(flat(config) | {choice.field: choice.value for choice in plan.choices})


def filled_as_before(config: ConfigDict, kept: ConfigDict) -> ConfigDict:
    """Return the config with what the plan of its run has chosen before."""
    values, before = flat(config), flat(kept)
    return nested(values | {field: before[field] for field in left_open(values)})


def _shown(value: Any) -> str:
    """Return a value as a flag takes it.

    >>> _shown([320, 128]), _shown("unet"), _shown(0.002)
    ('"(320,128)"', 'unet', '0.002')
    """
    several = isinstance(value, list | tuple)
    return f'"({",".join(map(str, value))})"' if several else str(value)
