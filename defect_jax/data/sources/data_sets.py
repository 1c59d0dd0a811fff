"""The data sets by name."""

from collections.abc import Collection
from functools import partial

from ml_collections import ConfigDict

from defect_jax.data.files.raw_files import RawFiles
from defect_jax.data.files.raw_names import skipped_note
from defect_jax.data.sources import bsdata, folder, ksdd2, magnetic_tile, tfds
from defect_jax.data.sources.records import Catalogue, DataSet, Fault
from defect_jax.data.sources.supervision import with_chosen_masks
from defect_jax.data.sources.synthetic import generator
from defect_jax.runtime.errors import UserError

DATA_SETS = {
    "synthetic": generator.DATA_SET,
    "magnetic_tile": magnetic_tile.DATA_SET,
    "ksdd2": ksdd2.DATA_SET,
    "bsdata": bsdata.DATA_SET,
    "folder": folder.DATA_SET,
    "tfds": tfds.DATA_SET,
}


def data_set(name: str) -> DataSet:
    """Look a data set up.

    Raises:
        UserError: there is none of this name.
    """
    if name not in DATA_SETS:
        raise UserError(f"config.data.name: {name!r} is unknown: give {', '.join(DATA_SETS)}")
    chosen = DATA_SETS[name]
    return chosen._replace(catalogue=partial(_with_listing, chosen))


def _with_listing(
    chosen: DataSet, raw: RawFiles, data: ConfigDict, needed: Collection[str]
) -> Catalogue:
    """Return the catalogue with what the listing of the raw files passed over, whatever the set.

    Raises:
        UserError: as the catalogue of the set, with the first link that led nowhere.
    """
    lost = [Fault(raw.where(name), why) for name, why in raw.lost().items()]
    try:
        found = chosen.catalogue(raw, data, needed)
    except UserError as error:
        raise UserError("; ".join(map(str, [error, *lost[:1]]))) from error
    found = with_chosen_masks(found, data)
    found.faults += lost
    if note := skipped_note(raw.skipped()):
        found.notes.append(note)
    return found
