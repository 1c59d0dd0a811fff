"""Weights of the Hugging Face Hub: fetched only where a config names `hf://`, and one file alone.

huggingface_hub is an optional extra, and is imported only then.
"""

import importlib.util
import os
import pathlib
import re
from types import ModuleType
from typing import NamedTuple

from defect_jax.models.pretrained.sources import SCHEME, parse_hub_source
from defect_jax.runtime.errors import UserError

FILE = "model.safetensors"
COMMIT = re.compile("[0-9a-f]{40}")
TIMEOUT_S = 30


class Fetched(NamedTuple):
    """A file in the cache of the hub, and what the hub says of it."""

    path: pathlib.Path
    origin: str  # with the commit
    licence: str  # of the model card; empty where there is none, or no network to ask for it


def fetch(source: str) -> Fetched:
    """Fetch the file of a repository, unless the cache of the hub has it, at one commit.

    A commit that is named and was fetched before needs no network.

    Raises:
        UserError: huggingface_hub is not installed, there is no such file, or no network.
    """
    repository, revision = parse_hub_source(source)
    if importlib.util.find_spec("huggingface_hub") is None:
        raise UserError(
            f"{source}: hf:// needs huggingface_hub: pip install 'defect_jax[hub]', or start "
            "launch/local.sh with DEFECT_JAX_EXTRAS=hub"
        )
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"  # read when it is imported
    library = importlib.import_module("huggingface_hub")
    try:
        commit, licence = _resolved(library, repository, revision)
        path = library.hf_hub_download(repository, FILE, revision=commit)
    except Exception as error:  # noqa: BLE001  HTTP clients of two names, the disk's, its own
        raise UserError(f"{source}: {_explained(error)}") from error
    return Fetched(pathlib.Path(path), f"{SCHEME}{repository}@{commit}", licence)


def _resolved(library: ModuleType, repository: str, revision: str | None) -> tuple[str, str]:
    """Return the commit that a revision stands for, and the licence of the model card."""
    named = revision is not None and COMMIT.fullmatch(revision) is not None
    try:
        model = library.HfApi().model_info(repository, revision=revision, timeout=TIMEOUT_S)
    except Exception:  # noqa: BLE001  as in `fetch`
        if not named:
            raise
        return revision, ""  # it may be in the cache; what is amiss is said if it is not
    licence = (model.card_data or {}).get("license") or ""
    commit = revision if named else model.sha
    return commit, licence if isinstance(licence, str) else ", ".join(licence)


def _explained(error: Exception) -> str:
    """Return why nothing came, and what to do, in one line."""
    errors = importlib.import_module("huggingface_hub.errors")
    reasons = {  # the first that fits: some are kinds of later ones
        errors.GatedRepoError: "it is gated: accept its terms on its page, then `hf auth login`",
        errors.RepositoryNotFoundError: "there is no such repository, or it is private: check the "
        "name, or `hf auth login`",
        errors.RevisionNotFoundError: "the repository has no such revision: check what is behind @",
        errors.OfflineModeIsEnabled: "HF_HUB_OFFLINE is set: fetch it once without, and name the "
        "commit behind @",
        errors.LocalEntryNotFoundError: "the hub does not answer, and the file was not fetched "
        "before: check the network",
        errors.EntryNotFoundError: f"the repository has no {FILE}: choose one that has",
    }
    for kind, reason in reasons.items():
        if isinstance(error, kind):
            return reason
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
    return f"cannot be fetched: {text}: check the network, or download {FILE} and give its path"
