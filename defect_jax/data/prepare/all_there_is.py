"""The data of a network that is trained: all that is left of them, whatever their splits today."""

from collections.abc import Collection

from ml_collections import ConfigDict

from defect_jax.data.prepare.check import listing_faults, refuse
from defect_jax.data.prepare.earlier_sets import split_before
from defect_jax.data.prepare.prepare import from_raw_files, opened, without_raw_files
from defect_jax.data.prepare.prepared import Prepared
from defect_jax.data.prepare.set_folder import (
    LAYOUT,
    cache_folder,
    directory_of,
    options_of,
    origin_of,
)
from defect_jax.data.sources.data_sets import data_set
from defect_jax.data.sources.records import SPLITS
from defect_jax.runtime.errors import UserError


def prepare_all_there_is(
    data: ConfigDict, needed: Collection[str], trained_on: str
) -> tuple[Prepared, list[str]]:
    """Return all splits, or the needed ones alone where the others are not there or have faults.

    A network is judged by the split that it was trained with, so an image that is needed may be in
    any split of today.

    Args:
        data: `config.data`.
        needed: the splits to have at least.
        trained_on: as `prepare` takes it.

    Returns:
        The set, and a sentence that says why not all splits are in it, where they are not.

    Raises:
        UserError: as `prepare`, for the needed splits.
    """
    chosen = data_set(data.name)
    cache_folder(data)  # a wrong one is refused before anything is read
    try:
        raw = opened(data, chosen, trained_on)
    except UserError as error:
        return without_raw_files(data, chosen, needed, trained_on, error), []
    try:
        if not directory_of(data, origin_of(data, chosen, raw, SPLITS)).is_dir():
            refuse(listing_faults(chosen.catalogue(raw, data, SPLITS), SPLITS))
        return from_raw_files(data, chosen, raw, SPLITS), []
    except UserError as error:
        found = from_raw_files(data, chosen, raw, needed)
        others = " and ".join(split for split in SPLITS if split not in needed)
        return found, [f"the images of {others} were not looked at: {error}"]


def split_of_older_version(data: ConfigDict, trained_on: str) -> list[dict[str, str]] | None:
    """Return lines of split.csv of what an older version prepared, see
    `earlier_sets.split_before`."""
    chosen = data_set(data.name)
    home = cache_folder(data) / data.name
    return split_before(home, LAYOUT, options_of(data, chosen), SPLITS, trained_on)
