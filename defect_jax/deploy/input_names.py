"""Names of inputs: which are results or masks of ours, and what the id of an image is.

The id is the one that an evaluation gives the same file: its path below the data root, without
suffix. The data root is the input; or, where the input is a folder `images`, what holds it.
"""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from defect_jax.data.files.output_names import ids_of
from defect_jax.data.files.raw_files import top_folder
from defect_jax.data.sources.folder_layout import IGNORE, IMAGES, MASKS, SPLIT_NAMES, stem_of
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import as_path, is_remote

BESIDE = {MASKS: "the masks of", IGNORE: "what is not judged in"}  # images/
RESULTS = ("masks", "overlays", "classes", "heatmaps")  # folders beside a table of predictions
TABLES = ("predictions.csv", "predictions.jsonl")
# Pictures for people, cameras and programs, which the network does not take.
OTHER_PICTURES = tuple(
    f".{suffix}"
    for suffix in """
    gif webp jfif jpe jif pjpeg pjp apng mpo dib heic heif avif jxl jp2 j2k jpf jpx jpm j2c jpc wdp
    jxr hdp ppm pgm pbm pnm pam pfm tga icb vda vst bmpf sgi rgb ras sr pcx xbm xpm ico cur icns svg
    svgz psd psb xcf exr hdr pic dng raw cr2 cr3 crw nef nrw arw srf sr2 orf rw2 raf pef srw x3f erf
    kdc dcr mrw 3fr iiq rwl dcm dicom fits fit fts btf tf8 ptif svs ndpi czi lif nd2 qoi flif bpg
    eps dds
    """.split()
)


class LeftOut(NamedTuple):
    """Files that are no inputs although they may look like it."""

    names: frozenset[str]
    notes: list[str]  # one sentence a folder


def left_out(names: Sequence[str], output: str | None) -> LeftOut:
    """Find the results of predictions and evaluations, and the masks beside images.

    Args:
        output: where this prediction writes below the input, with a slash.
    """
    results = {name.rpartition("/")[0] for name in names if name.rpartition("/")[2] in TABLES}
    starts = {f"{top}/{kind}/".lstrip("/"): "results" for top in results for kind in RESULTS}
    folders = {str(folder) for name in names for folder in PurePosixPath(name).parents}
    for folder in folders:
        path = PurePosixPath(folder)
        if path.name in BESIDE and str(path.with_name(IMAGES)) in folders:
            starts.setdefault(f"{folder}/", f"{BESIDE[path.name]} {path.with_name(IMAGES)}/")
    if output is not None:
        starts[output] = "results"
    found: dict[str, list[str]] = {}
    for name in names:
        above = [start for start in _starts(name) if start in starts]
        if above:
            found.setdefault(above[0], []).append(name)
    notes = [
        f"left out {files(len(inside))} in {start}: {starts[start]}"
        for start, inside in found.items()
    ]
    return LeftOut(frozenset(name for inside in found.values() for name in inside), notes)


def ignore_files(names: Sequence[str]) -> dict[str, str]:
    """Return the file that says what of an image is not judged, by the stem of the image's name.

    >>> ignore_files(["a/ignore/line_1/1.png", "a/images/line_1/1.jpg"])
    {'a/images/line_1/1': 'a/ignore/line_1/1.png'}
    """
    found = {}
    for name in names:
        above, _, rest = f"/{name}".partition(f"/{IGNORE}/")
        if rest:
            found[stem_of(f"{above}/{IMAGES}/{rest}").removeprefix("/")] = name
    return found


def files(count: int) -> str:
    """Return a number of files in words.

    >>> files(1), files(2)
    ('1 file', '2 files')
    """
    return f"{count} file{'s' * (count != 1)}"


def _starts(name: str) -> Iterable[str]:
    """Return all folders that a name is in, each with a slash, the outermost first.

    >>> list(_starts("a/b/c.png"))
    ['', 'a/', 'a/b/']
    """
    return ["", *(name[: end + 1] for end, character in enumerate(name) if character == "/")]


def ids_below(path: str, names: Sequence[str], whole: Collection[str]) -> dict[str, str]:
    """Return the id of each name below the input `path`.

    Args:
        whole: names that keep their suffix.
    """
    above = _above(path)
    top = "" if above else top_of(names)
    below = {name: above + name.removeprefix(top) for name in names}
    ids = ids_of(below.values(), {below[name] for name in whole})
    return {name: ids[below[name]] for name in names}


def _above(path: str) -> str:
    """Return how ids begin where the input is the folder `images` of a data root.

    >>> _above("/parts/images"), _above("/parts/train/images"), _above("/parts/images/val")
    ('images/', 'train/images/', 'images/val/')
    >>> _above("/parts/training/images"), _above("/parts"), _above("/images/monday")
    ('training/images/', '', '')
    """
    local = as_path(path)
    if not is_remote(local):
        if local.is_file():
            return ""
        local = local.absolute()
    before, last = (*local.parts, "", "")[-4:-2] if len(local.parts) > 1 else ("", "")
    if last == IMAGES:
        return f"{before}/{last}/" if before in SPLIT_NAMES else f"{last}/"
    return f"{before}/{last}/" if before == IMAGES and last in SPLIT_NAMES else ""


def data_root(path: str) -> Path:
    """Return the folder that ids begin below: the input, or what holds it, see `ids_below`.

    >>> str(data_root("/parts/train/images")), str(data_root("/parts"))
    ('/parts', '/parts')
    """
    root = Path(as_path(path)).absolute()
    for _ in range(_above(path).count("/")):
        root = root.parent
    return root


def top_of(names: Sequence[str]) -> str:
    """Return the leading folder that an archive may put around `images/`."""
    if not any(IMAGES in name.split("/")[:-1] for name in names):
        return ""
    try:
        top = top_folder(names, (IMAGES, *SPLIT_NAMES), "")
    except UserError:  # several: each stays in its ids
        return ""
    return top if all(name.startswith(top) for name in names) else ""
