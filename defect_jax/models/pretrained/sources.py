"""What `config.model.weights` may name.

`imagenet` is what is installed beside this package, a path is a `.safetensors` file, and `hf://` a
repository of the Hugging Face Hub: the only one that a network is needed for.
"""

import re

from defect_jax.models.pretrained.packages import EMBEDDED
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import as_path

IMAGENET = "imagenet"
SCHEME = "hf://"
SUFFIX = ".safetensors"
PICKLED = (".pth", ".pt", ".bin", ".ckpt", ".pkl")  # formats that may hold code

# What to name for encoders without embedded weights: timm's own choice for each, at one commit.
NAMED = {
    "resnet18": "hf://timm/resnet18.a1_in1k@491b427b45c94c7fb0e78b5474cc919aff584bbf",
    "resnet34": "hf://timm/resnet34.a1_in1k@0e8757122c4c09b15fb9300c0fd09b3fe89e28bf",
    "resnet50": "hf://timm/resnet50.a1_in1k@767268603ca0cb0bfe326fa87277f19c419566ef",
    "convnext_tiny": (
        "hf://timm/convnext_tiny.in12k_ft_in1k@aa096f03029c7f0ec052013f64c819b34f8ad790"
    ),
}

HUB_WORD = "[A-Za-z0-9][A-Za-z0-9._-]*"
# The hub has no repository with -- or .. in its name.
HUB_SOURCE = re.compile(
    rf"{SCHEME}(?![^@]*(?:--|\.\.))({HUB_WORD}/{HUB_WORD})(?:@([A-Za-z0-9][A-Za-z0-9._/-]*))?"
)


def check_source(encoder: str, source: str) -> None:
    """Refuse a source that cannot be meant, by its text alone: no file and no network is touched.

    An empty source is right for every encoder: its weights are drawn.

    Raises:
        UserError: With what to write in its place.
    """
    if not source:
        return
    if source == IMAGENET:
        _check_embedded(encoder)
    elif source.startswith(SCHEME):
        parse_hub_source(source)
    else:
        _check_path(source)


def without_place(source: str) -> str:
    """Return a source as it may be passed on: of a path the file's name alone.

    >>> without_place("/home/somebody/parts/lite0.safetensors"), without_place("hf://timm/x@v1")
    ('lite0.safetensors', 'hf://timm/x@v1')
    """
    return source if source.startswith(SCHEME) else source.rpartition("/")[2]


def _check_embedded(encoder: str) -> None:
    if encoder in EMBEDDED:
        return
    hub = NAMED.get(encoder, f"{SCHEME}OWNER/NAME")
    raise UserError(
        f"config.model.weights is {IMAGENET!r}: {encoder} has no weights that are installed with "
        f"this package: give the path of a {SUFFIX} file, or {hub}, which is fetched only because "
        "you name it"
    )


def _check_path(source: str) -> None:
    """Refuse all but the path of a safetensors file."""
    beginning = f"config.model.weights is {source!r}: "
    if source.startswith(("http://", "https://")):
        raise UserError(
            f"{beginning}nothing is fetched from there: download it, and give the path of the "
            f"{SUFFIX} file, or name {SCHEME}OWNER/NAME"
        )
    if source.endswith(PICKLED):
        raise UserError(
            f"{beginning}such files can run code when they are opened: convert it to {SUFFIX} "
            "where you trust it, with safetensors.torch.save_file(torch.load(FILE, "
            "weights_only=True), NEW_FILE)"
        )
    if not source.endswith(SUFFIX):
        raise UserError(
            f"{beginning}must be {IMAGENET!r}, the path of a {SUFFIX} file, "
            f"{SCHEME}OWNER/NAME[@REVISION], or empty"
        )
    as_path(source)


def parse_hub_source(source: str) -> tuple[str, str | None]:
    """Return the repository and the revision that `hf://OWNER/NAME[@REVISION]` names.

    Raises:
        UserError: it is written differently.
    """
    match = HUB_SOURCE.fullmatch(source)
    if match is None:
        raise UserError(
            f"config.model.weights is {source!r}: write hf://OWNER/NAME, or "
            "hf://OWNER/NAME@REVISION for a commit, tag or branch"
        )
    return match[1], match[2]
