"""The data sets by name."""

from defect_jax.data.sources import bsdata, folder, ksdd2, magnetic_tile
from defect_jax.data.sources.records import DataSet
from defect_jax.data.sources.synthetic import generator
from defect_jax.runtime.errors import UserError

DATA_SETS = {
    "synthetic": generator.DATA_SET,
    "magnetic_tile": magnetic_tile.DATA_SET,
    "ksdd2": ksdd2.DATA_SET,
    "bsdata": bsdata.DATA_SET,
    "folder": folder.DATA_SET,
}


def data_set(name: str) -> DataSet:
    """Look a data set up.

    Raises:
        UserError: there is none of this name.
    """
    if name not in DATA_SETS:
        raise UserError(f"config.data.name: {name!r} is unknown: give {', '.join(DATA_SETS)}")
    return DATA_SETS[name]
