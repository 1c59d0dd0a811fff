"""The sample of docs/deploy.md that decides on parts with the numbers of a card."""

import re
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs/deploy.md"


def part_sample():
    """The names that the sample defines, run as it stands; it reads exported/model.json."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (sample,) = [block for block in blocks if "def decide(" in block]
    names = {}
    exec(compile(sample, str(PAGE), "exec"), names)
    return names
