"""Where the networks of a cross-fitted workdir are: each an ordinary run in a folder below it."""

from defect_jax.runtime.paths import AnyPath

FOLDS = "folds"


def fold_folder(workdir: AnyPath, number: int) -> AnyPath:
    """Return the workdir of the network that has not seen a fold."""
    return workdir / FOLDS / str(number)


def fold_folders(workdir: AnyPath) -> list[AnyPath]:
    """Return the workdirs of networks that there are."""
    folder = workdir / FOLDS
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if path.name.isdecimal()]
