"""What --help prints: modes, the flags one needs, examples."""

import textwrap
from collections.abc import Callable, Mapping

from defect_jax.command_line import CONFIGS, config_names

TEXT = """\
defect_jax decides, part by part, whether a surface is defective, and shows where.

  defect-jax [MODE] --config=NAME[:VARIANT] [--workdir=DIR] [--config.FIELD=VALUE ...]
  python -m defect_jax.main ...                        the same

Modes
{modes}

Flags
  --config=NAME[:VARIANT]  {names},
                           or the path of a config of yours. Variants: planned, sizes and steps from
                           your images and the machine, as folder has them by itself; cpu, fixed
                           ones for a laptop; cpu_scratch, those without pretrained weights; lite,
                           for edge devices; debug, everything in seconds
  --config.minutes=N       of what is planned: how long a run on a CPU may take (10)
  --config.FIELD=VALUE     sets a field, as --config.data.root=my_parts or --config.train.steps=900;
                           all fields and what they mean: {fields}
  --workdir=DIR            folder of the run; runs/NAME[-VARIANT] if not given
  --input=PATH             of predict: an image, folder, .tar or .zip; of export: images for int8;
                           of import: the annotations, or the folder with them
  --output=DIR             of predict, export and import; of check: where to write groups.csv
  --group=folder, PATTERN  of predict: which images show one part; without it, groups.csv
  --split=SPLIT            of evaluate and compare: test (default), val, train or folds
  --workdirs=A,B           of compare: the first is the reference
  --heatmaps=false         of predict: write none (heatmaps/), nor their tint in overlays/
  --unlike_rate=0.05       of predict: share of parts like the validated that may be called unlike
  --strict                 of predict: end at the first image that cannot be used
  --resume=must            of train: refuse to begin anew
  --helpfull               all flags, those for several hosts included

Examples
  defect-jax train --config=synthetic:cpu              without data of your own: ten minutes
  defect-jax check --config=folder --config.data.root=my_parts
  defect-jax train --config=folder --config.data.root=my_parts
  defect-jax import --input=annotations.json --output=my_parts
  defect-jax predict --workdir=runs/folder --input=today --output=decided
  defect-jax export --workdir=runs/folder --output=exported

In a program: from defect_jax import load; load("runs/folder").predict(image)"""


def help_text(modes: Mapping[str, Callable[[], None]]) -> str:
    """Return the text, with the first line of each mode's docstring."""
    lines = [f"  {name:10}{run.__doc__.strip().splitlines()[0]}" for name, run in modes.items()]
    names = textwrap.fill(", ".join(config_names()), 70).replace("\n", "\n" + 27 * " ")
    return TEXT.format(modes="\n".join(lines), names=names, fields=CONFIGS / "base.py")
