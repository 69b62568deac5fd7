"""The style of all figures: colours, type, and files whose bytes follow from the data alone.

Text and lines take the colour of the page that an SVG stands in, so it works in light and dark.
"""

from __future__ import annotations

import base64
import io
import math
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from xml.etree import ElementTree

from markupsafe import escape

from fewtune.core.files import write_bytes, write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito (2008): distinct with every common form of colour blindness.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#8a919c")
MARKERS = "osD^vPX*"
COLUMNS = 3
PANEL_IN = (3.3, 2.6)
CHARACTER_IN = 0.075
LEGEND_LINE_IN = 0.2
LINES = ("-", "-.", ":")  # of the first eight methods, of the next; zero-shot is dashed
# Stands for the colour of the page's text until the SVG is written; in a PDF it is black.
TEXT = "#010203"
SOFT = "#6b6b6b"  # of subtitles, on white
GRID = "#80808040"
# matplotlib's own font first; then fonts with the scripts that it lacks, where installed.
FONTS = (
    "DejaVu Sans", "Noto Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans Arabic",
    "Noto Sans Devanagari", "Arial Unicode MS", "Hiragino Sans", "PingFang SC", "Microsoft YaHei",
    "WenQuanYi Micro Hei",
)  # fmt: skip
# A file on its own has no page: it follows the reader's system.
ALONE = (
    "<style>.alone{color:#1a1a1a}@media(prefers-color-scheme:dark){.alone{color:#e6e6e6}}</style>"
)
_COMMENT = re.compile(r"\s*<!--.*?-->", re.DOTALL)


@contextmanager
def style() -> Iterator[None]:
    """Within this context figures are drawn in our style."""
    import matplotlib
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    with matplotlib.rc_context(), warnings.catch_warnings():
        # A class name in a script that no installed font has is drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "font.family": [name for name in FONTS if name in installed],
                "text.parse_math": False,  # "$" in the name of a class
                "svg.hashsalt": "fewtune",
                "pdf.fonttype": 42,
                "font.size": 9,
                "axes.titlesize": 10,
                "axes.spines.top": False,
                "axes.spines.right": False,
                **{f"{part}.color": TEXT for part in ("text", "xtick", "ytick")},
                **{f"axes.{part}color": TEXT for part in ("edge", "label", "title")},
            }
        )
        yield


def blank(width_in: float, height_in: float) -> Figure:
    """Return a figure without panels; those that are added make room for their texts."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width_in, height_in), layout="constrained")


def subplots(figure: Figure, count: int, columns: int, *, sharey: bool = False) -> list[Axes]:
    """Return `count` panels of a figure, line by line; the last line may be shorter."""
    lines = max(1, math.ceil(count / columns))
    grid = list(figure.subplots(lines, columns, squeeze=False, sharey=sharey).flat)
    for spare in grid[count:]:
        spare.remove()
    return grid[:count]


def grid(axis: Axes, along: Literal["x", "y"] = "y") -> None:
    """Draw thin lines behind the data at the ticks of x or y."""
    axis.grid(axis=along, color=GRID, linewidth=0.6)
    axis.set_axisbelow(True)


def svg(figure: Figure) -> str:
    """Return a figure as an SVG element whose text has the colour of the text around it."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    return text[text.index("<svg") :].replace(TEXT, "currentColor")


def alone(drawn: str, words: str) -> str:
    """Return an SVG element as a file of its own, which follows light and dark.

    Args:
        words: What it says, for readers who do not see it.
    """
    head, _, rest = drawn.partition(">")
    head = head.replace("<svg", '<svg class="alone" role="img"', 1)
    rest = re.sub(r"\n\s+", "\n", _COMMENT.sub("", rest))
    return f"{head}>\n<desc>{escape(words)}</desc>\n{ALONE}{rest}"


def is_svg(text: str) -> bool:
    """Tell whether a text is an SVG element, or a file with one."""
    try:
        return ElementTree.fromstring(text).tag.endswith("}svg")
    except ElementTree.ParseError:
        return False


def data_uri(image: bytes, kind: Literal["png", "svg+xml"]) -> str:
    """Return an image as an address of a page; in a drawing, nothing runs or is fetched there."""
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def write_figure(stem: Path, draw: Callable[[], Figure], words: str) -> None:
    """Write STEM.svg and STEM.pdf.

    Args:
        draw: Makes the figure, in the style that is in force then.
        words: As for `alone`.
    """
    pdf = io.BytesIO()
    with style():
        figure = draw()
        drawn = alone(svg(figure), words)
        figure.set_layout_engine("none")  # what it was given stays
        metadata = {"CreationDate": None, "Creator": None, "Producer": None}
        figure.savefig(pdf, format="pdf", metadata=metadata)
    write_text(stem.with_name(f"{stem.name}.svg"), drawn)
    write_bytes(stem.with_name(f"{stem.name}.pdf"), pdf.getvalue())


@contextmanager
def panels(
    count: int, columns: int = COLUMNS, panel_in: tuple[float, float] = PANEL_IN
) -> Iterator[tuple[Figure, list[Axes]]]:
    """Give a figure with `count` panels, each of `panel_in` inches, in our style."""
    with style():
        columns = min(columns, count)
        lines = math.ceil(count / columns)
        figure = blank(panel_in[0] * columns, panel_in[1] * lines + 0.5)
        yield figure, subplots(figure, count, columns)


def look(index: int, *, line: bool = False, hollow: bool = False) -> dict[str, Any]:
    """Return how the method with this index is drawn: no two of 64 look alike."""
    turn, colour = divmod(index, len(COLOURS))
    found: dict[str, Any] = {
        "color": COLOURS[colour],
        "marker": MARKERS[(index + turn) % len(MARKERS)],
        "markersize": 5,
        "linestyle": LINES[turn % len(LINES)] if line else "none",
    }
    if hollow:
        found["markerfacecolor"] = "none"
    return found | ({"linewidth": 1.6, "capsize": 2, "elinewidth": 0.9} if line else {})


def label(axes: Sequence[Axes], x: str, y: str, *, share_y: bool = False) -> None:
    """Name the axes of all panels; those of a line share the names on the left."""
    for index, axis in enumerate(axes):
        axis.set_xlabel(x if index + COLUMNS >= len(axes) else "")
        grid(axis, "x" if share_y else "y")
        if index % COLUMNS == 0:
            axis.set_ylabel(y)
        elif share_y:
            axis.set_yticklabels([])


def legend(figure: Figure, axes: Iterable[Axes], **look: Any) -> None:
    """Put what any panel shows below the figure, each once, in as many columns as fit."""
    shown: dict[str, Any] = {}
    for axis in axes:
        handles, labels = axis.get_legend_handles_labels()
        shown |= {text: handle for text, handle in zip(labels, handles, strict=True)}
    if not shown:
        return
    width_in, height_in = figure.get_size_inches()
    widest_in = 0.55 + CHARACTER_IN * max(map(len, shown))
    columns = max(1, min(len(shown), int(width_in / widest_in)))
    lines = math.ceil(len(shown) / columns)
    figure.set_size_inches(width_in, height_in + LEGEND_LINE_IN * (lines - 1))
    place = {"loc": "outside lower center", "ncols": columns, "frameon": False}
    figure.legend(shown.values(), shown.keys(), **place, **look)


def log_scale(axis: Axes, along: Literal["x", "y"] = "x") -> None:
    """Put data that is drawn already on a logarithmic scale with short numbers: "20k"."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set(**{f"{along}scale": "log"})
    scale = axis.xaxis if along == "x" else axis.yaxis
    low, high = scale.get_view_interval()
    decades = math.log10(high / low)
    named = (1, 2, 5) if decades < 2 else (1, 3) if decades < 4 else (1,)
    scale.set_major_locator(LogLocator(subs=named))
    scale.set_minor_locator(NullLocator())
    scale.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    if along == "x":
        axis.margins(0.15)


def _short(value: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
