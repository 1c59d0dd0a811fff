"""Templates to HTML, and the document around every page.

The templates escape every value that is not `Markup`. What is: the page's own script and style,
the data for the script, plots, and what another template made.

A page is one file without any address in it: it opens from a mail, a USB stick or a network that
lets nothing out. Its policy forbids the browser to load anything from elsewhere, and to run any
script but the one whose hash it names.
"""

import base64
import hashlib
from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

import defect_jax
from defect_jax.report import colours, words


def breakable(name: str, after: str = "/") -> Markup:
    """Return the name with a place to break the line behind each `after`, for narrow cards.

    >>> breakable("<a>/b")
    Markup('&lt;a&gt;/<wbr>b')
    """
    return escape(name).replace(after, Markup(f"{after}<wbr>"))


ENVIRONMENT = Environment(
    loader=PackageLoader("defect_jax.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.filters |= {
    "breakable": breakable,
    "number": words.number,
    "pixel_share": words.pixel_share,
    "rule_words": words.rule_words,
    "score": words.score_text,
    "share": words.share,
    "split_name": words.split_name,
    "threshold": words.threshold_text,
}


def render(template: str, **values: Any) -> Markup:
    """Return a template filled in, as markup that another one takes unescaped."""
    return Markup(ENVIRONMENT.get_template(template).render(values))


def render_page(
    template: str, title: str, scripts: Sequence[str], styles: Sequence[str], **values: Any
) -> str:
    """Return a whole page, made by a template that extends layout.html.

    Args:
        template: name of the file.
        title: as plain text.
        scripts, styles: names of files beside the templates, joined in this order.
        values: what the template needs; `data`, if given, is JSON for the script.
    """
    script = _source(scripts)
    return ENVIRONMENT.get_template(template).render(
        values,
        title=title,
        style=_source(styles),
        script=script,
        script_hash=script_hash(script),
        colours=colours,
        version=defect_jax.__version__,
    )


def script_hash(script: str) -> str:
    """Return the hash of a script as a Content-Security-Policy names it.

    >>> script_hash("")
    'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='
    """
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _source(names: Sequence[str]) -> Markup:
    """Return files as they are; through the loader, so that they are found in any kind of wheel."""
    return Markup("".join(ENVIRONMENT.loader.get_source(ENVIRONMENT, name)[0] for name in names))
