"""Several classes of defect: how well each is found, and which is taken for which."""

from collections.abc import Iterator, Mapping
from html import escape

from defect_jax.metrics.class_counts import ACCURACY, IOU, ClassPixels
from defect_jax.report.class_matrix import class_matrix
from defect_jax.report.words import number, pixel_share

Metrics = Mapping[str, int | float | None]
COLUMNS = ("True pixels", "Share", "Pooled IoU", "Pixel accuracy", "Most often taken for")
HOW_TO_READ = (
    "A row holds the pixels of one true class and says what they were decided as; it adds up to "
    "100%. Blue is right. Orange is wrong: in the first column the defect was not marked, in the "
    "first row good surface was, and elsewhere one class of defect was taken for another."
)


def class_section(classes: ClassPixels | None, metrics: Metrics) -> str:
    """The section; "" for a network with one class of defect."""
    if classes is None:
        return ""
    means = [number(metrics.get(key)) for key in ("class_miou", "class_mpa")]
    findings = "\n".join(f"<li>{text}</li>" for text in _findings(classes))
    return (
        '<section aria-labelledby="classes">\n<h2 id="classes">Classes</h2>\n'
        f"<p>Mean over background and classes: pooled IoU <b>{means[0]}</b>, pixel accuracy "
        f"<b>{means[1]}</b>. Pixels of all pictures are counted together, at the decided "
        "thresholds; the slider does not move these figures.</p>\n"
        f'<div class="wide">{_table(classes, metrics)}</div>\n'
        f"<h3>Which class is taken for which</h3>\n<ul>\n{findings}\n</ul>\n"
        f'<p>{HOW_TO_READ}</p>\n<div class="wide">{class_matrix(classes)}</div>\n</section>\n'
    )


def _table(classes: ClassPixels, metrics: Metrics) -> str:
    whole = max(1, int(classes.pixels.sum()))
    rows = [
        _row(index, classes, metrics, whole, pixels)
        for index, pixels in enumerate(classes.pixels.tolist())
    ]
    head = "".join(f'<th scope="col" class="number">{name}</th>' for name in COLUMNS[:-1])
    return (
        '<table class="classes"><caption>Each class, from metrics.json</caption><thead><tr>'
        f'<th scope="col">Class</th>{head}<th scope="col">{COLUMNS[-1]}</th></tr></thead>'
        "<tbody>\n" + "\n".join(rows) + "\n</tbody></table>"
    )


def _row(index: int, classes: ClassPixels, metrics: Metrics, whole: int, pixels: list[int]) -> str:
    name, true = classes.names[index], sum(pixels)
    overlap, accuracy = metrics.get(f"{IOU}{name}"), metrics.get(f"{ACCURACY}{name}")
    cells = (f"{true:,}", escape(_of_all(true, whole)), number(overlap), number(accuracy))
    numbers = "".join(f'<td class="number">{cell}</td>' for cell in cells)
    taken = "–"
    count, other = _largest(pixels, without=index)
    if count:
        taken = f"{escape(classes.names[other])}, {escape(pixel_share(count, true))}"
    return f'<tr><th scope="row">{escape(name)}</th>{numbers}<td>{taken}</td></tr>'


def _of_all(true: int, whole: int) -> str:
    """As `pixel_share`, but a rare class keeps its digits.

    >>> _of_all(8, 49_152), _of_all(49_133, 49_152), _of_all(0, 5)
    ('0.0163%', '> 99.9%', '0%')
    """
    if 0 < 100 * true < whole:
        return f"{100 * true / whole:.3g}%"
    return pixel_share(true, whole)


def _findings(classes: ClassPixels) -> Iterator[str]:
    """The three mistakes there can be, each where it weighs most."""
    names = [f"<b>{escape(name)}</b>" for name in classes.names]
    pixels = classes.pixels.tolist()
    true = [sum(row) for row in pixels]
    defects = [index for index in range(1, len(names)) if true[index]]
    worst = max(defects, key=lambda index: pixels[index][0] / true[index], default=0)
    if worst and pixels[worst][0]:
        lost = escape(pixel_share(pixels[worst][0], true[worst]))
        yield f"Marked least: {names[worst]}. {lost} of its pixels are not marked as any defect."
    yield _swapped(names, pixels, true)
    count, other = _largest(pixels[0], without=0)
    if count:
        marked = escape(pixel_share(sum(pixels[0][1:]), true[0]))
        yield f"Of the good surface, {marked} is marked, most of it as {names[other]}."
    else:
        yield "No good surface is marked."


def _swapped(names: list[str], pixels: list[list[int]], true: list[int]) -> str:
    """The two classes of defect that are confused most, by the share of the true one."""
    defects = range(1, len(names))
    pairs = [(i, j) for i in defects for j in defects if i != j and pixels[i][j]]
    if not pairs:
        return "No pixel of one class of defect is taken for another class of defect."
    one, other = max(pairs, key=lambda pair: pixels[pair[0]][pair[1]] / true[pair[0]])
    share = escape(pixel_share(pixels[one][other], true[one]))
    return f"Confused most: {names[one]}. {share} of its pixels are taken for {names[other]}."


def _largest(pixels: list[int], without: int) -> tuple[int, int]:
    """The largest of the other counts and where it stands; the first one of equals.

    >>> _largest([5, 9, 7, 7], without=1)
    (7, 2)
    """
    others = [index for index in range(len(pixels)) if index != without]
    best = max(others, key=lambda index: pixels[index])
    return pixels[best], best
