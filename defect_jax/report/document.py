"""The HTML around a page: style, script, and the policy that lets nothing else in.

One file without any address in it: it opens from a mail, a USB stick or a network that lets nothing
out. The policy forbids the browser to load anything from elsewhere, and to run any script but the
one whose hash it names.
"""

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from importlib import resources
from string import Template

import defect_jax

FILES = resources.files("defect_jax.report")


def document(
    title: str, body: str, scripts: Sequence[str], styles: Sequence[str], data: str = ""
) -> str:
    """The page as one HTML text.

    Args:
      title: as plain text.
      body: HTML of the main part.
      scripts, styles: names of files in this folder, joined in this order.
      data: JSON for the script, from `slider.to_json`.
    """
    script = "".join(FILES.joinpath(name).read_text("utf-8") for name in scripts)
    data_html = f'<script type="application/json" id="data">{data}</script>' if data else ""
    return Template(FILES.joinpath("document.html").read_text("utf-8")).substitute(
        title=escape(title),
        css="".join(FILES.joinpath(name).read_text("utf-8") for name in styles),
        hash=script_hash(script),
        body=body,
        data=data_html,
        script=script,
        version=escape(defect_jax.__version__),
    )


def warnings(texts: Sequence[str]) -> str:
    """What makes the figures of a page worth less than they look; a box each."""
    return "\n".join(
        f'<p class="warning" role="note"><strong>Warning.</strong> {escape(text)}</p>'
        for text in texts
    )


def script_hash(script: str) -> str:
    """As a Content-Security-Policy names a script.

    >>> script_hash("")
    'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='
    """
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
