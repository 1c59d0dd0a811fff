"""suspects.html: images whose label or mask contradicts what the others teach, likeliest first."""

from typing import NamedTuple

from markupsafe import Markup

from defect_jax.metrics.suspects import KINDS, SURE, Suspect, Suspects
from defect_jax.report.cards import Fact, card
from defect_jax.report.gallery import LoadImage
from defect_jax.report.outlines import frame
from defect_jax.report.render import breakable, render_page
from defect_jax.report.thumbnails import share_out
from defect_jax.report.words import score_text

STYLES = ("page.css", "tables.css", "controls.css", "gallery.css", "suspects.css")
MOST_CARDS = 120
LEAST_CARDS = 12  # a page of nothing would hide that the first ones are not suspect


class SuspectsPage(NamedTuple):
    """What the page shows.

    Attributes:
      title: of the data.
      split: of these images; the network was not trained with them.
      suspects: every image, the most suspicious first, and how many are worth a look.
      load_image: id -> image, true mask, decided mask; called for the images that are shown.
    """

    title: str
    split: str
    suspects: Suspects
    load_image: LoadImage


def render_suspects(page: SuspectsPage) -> str:
    """Return the page as one HTML text."""
    images, to_look_at = page.suspects.images, page.suspects.to_look_at
    shown = images[: min(MOST_CARDS, max(LEAST_CARDS, to_look_at))]

    def show(index: int, longer_side_px: int, limit: int) -> Markup:
        return _card(shown[index], page.load_image, longer_side_px, limit)

    advised = [suspect.kind for suspect in images[:to_look_at]]
    return render_page(
        "suspects.html",
        f"Suspect labels: {page.title}",
        ("viewer.js",),
        STYLES,
        split=page.split,
        images=len(images),
        to_look_at=to_look_at,
        wrong=page.suspects.wrong_labels,
        wrong_masks=page.suspects.wrong_masks,
        sure=SURE,
        counts=[(name, advised.count(kind)) for kind, name in KINDS.items()],
        cards=list(share_out([True] * len(shown), 0, show)),
    )


def _card(suspect: Suspect, load_image: LoadImage, longer_side_px: int, limit: int) -> Markup:
    image, true_mask, decided = load_image(suspect.id)
    masks = [("true", true_mask > 0), ("predicted", decided > 0)]
    alt = f"Image {suspect.id}: {suspect.why}"
    svg = frame(f"s{suspect.rank}", alt, image, masks, longer_side_px, limit)
    facts = [
        Fact("Suspicion", score_text(suspect.suspicion)),
        Fact("Label", "defective" if suspect.label else "good"),
        Fact("Part", suspect.group),
        Fact("Drawn", f"{suspect.true_px:,} px"),
        Fact("Predicted", f"{suspect.predicted_px:,} px"),
    ]
    name = Markup("{}. {}").format(suspect.rank, breakable(suspect.id))
    return card(svg, name, facts, below=suspect.why)
