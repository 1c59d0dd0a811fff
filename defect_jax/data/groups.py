"""`groups.csv` of the user's own data: which pictures show the same part."""

import csv
import io

from defect_jax.data.raw_files import RawFiles
from defect_jax.data.records import Fault

GROUPS_FILE = "groups.csv"
HEADER = ["id", "group"]


def read_groups(raw: RawFiles, name: str, faults: list[Fault]) -> dict[str, str]:
    """Reads the group of each picture id, and adds a fault for each line that is no such pair.

    An id is the picture's path below the data root without its suffix, as in split.csv.
    """
    where = raw.where(name)
    try:
        text = raw.read(name).decode("utf-8-sig")
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except OSError as error:
        faults.append(Fault(where, f"cannot be read ({error}): make it readable"))
        return {}
    except (UnicodeDecodeError, csv.Error) as error:
        faults.append(Fault(where, f"is no CSV file in UTF-8 ({error}): save it as such"))
        return {}
    if not rows or [cell.strip() for cell in rows[0]] != HEADER:
        faults.append(Fault(where, "does not begin with the line 'id,group': add it"))
        return {}
    groups = {}
    for line, row in enumerate(rows[1:], 2):
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if len(cells) != 2 or not all(cells):
            faults.append(Fault(f"{where}, line {line}", "is no pair id,group: give both, no more"))
        elif groups.setdefault(*cells) != cells[1]:
            what = f"puts {cells[0]!r} into a second group: keep one line"
            faults.append(Fault(f"{where}, line {line}", what))
    return groups
