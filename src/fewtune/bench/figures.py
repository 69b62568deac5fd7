"""How every figure looks: colours, type, and SVG and PDF files whose bytes follow from the data.

Text and lines take the colour of the page that an SVG stands in, so it works in light and dark.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fewtune.core.files import write_bytes, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito (2008): told apart with every common form of colour blindness.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#8a919c")
MARKERS = "osD^vPX*"
# Stands for the colour of the page's text until the SVG is written.
TEXT = "#010203"
GRID = "#80808040"
PAPER_INK = "#1a1a1a"
# A file on its own has no page: it follows the reader's system.
ALONE = (
    "<style>.alone{color:#1a1a1a}@media(prefers-color-scheme:dark){.alone{color:#e6e6e6}}</style>"
)


@contextmanager
def style(ink: str = TEXT) -> Iterator[None]:
    """Within this context figures are drawn in our style, text and axes in the colour `ink`."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "svg.hashsalt": "fewtune",
                "pdf.fonttype": 42,
                "font.size": 9,
                "axes.titlesize": 10,
                "axes.spines.top": False,
                "axes.spines.right": False,
                **{f"{part}.color": ink for part in ("text", "xtick", "ytick")},
                **{f"axes.{part}color": ink for part in ("edge", "label", "title")},
            }
        )
        yield


def svg(figure: Figure) -> str:
    """Return a figure as an SVG element whose text has the colour of the text around it."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    return text[text.index("<svg") :].replace(TEXT, "currentColor")


def write_figure(stem: Path, draw: Callable[[str], Figure], words: str) -> tuple[Path, Path]:
    """Write STEM.svg, which follows light and dark, and STEM.pdf, and return their paths.

    Args:
        draw: Makes the figure in the style that is in force; told the colour of its text.
        words: What the figure says, for readers who do not see it.
    """
    with style():
        drawn = svg(draw(TEXT))
    with style(PAPER_INK):
        pdf = io.BytesIO()
        draw(PAPER_INK).savefig(
            pdf, format="pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None}
        )
    paths = stem.with_suffix(".svg"), stem.with_suffix(".pdf")
    write_text(paths[0], alone(drawn, words))
    write_bytes(paths[1], pdf.getvalue())
    return paths


def alone(drawn: str, words: str) -> str:
    """Return an SVG element as a file of its own, with what it says in words."""
    from markupsafe import escape

    head, _, rest = drawn.partition(">")
    head = head.replace("<svg", '<svg class="alone" role="img"', 1)
    return f"{head}>\n<desc>{escape(words)}</desc>\n{ALONE}{rest}"
