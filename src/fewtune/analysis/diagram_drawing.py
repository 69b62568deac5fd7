"""Drawing of a parameter map: the towers side by side, what decides above them.

A cell is a module and the strip below it its bias. A chip at the side is what a hook puts into a
stage. Lengths are inches, so that type keeps its size whatever the number of blocks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fewtune.analysis.parameter_map import HEAD, Level, ParameterGroup, ParameterMap, TowerName
from fewtune.reports.figures import TEXT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FROZEN, ONCE, TRAINED, ADDED, KEPT = "#80808080", "#80808038", "#0072b2", "#d55e00", "#e69f00"
KINDS = {
    TRAINED: "trained",
    ADDED: "added and trained",
    KEPT: "added, not trained",
    FROZEN: "frozen",
    ONCE: "frozen and computed once",
}
BLOCK = "block."
LEAST = 3.3
ROW, GAP, LABEL, CELLS, CHIP, COUNT = 0.2, 0.035, 0.45, 1.52, 0.6, 0.46
MARGIN, BETWEEN, TITLE, LEGEND, FOOT, DECISION = 0.08, 0.2, 0.42, 0.36, 0.36, 0.26
STRIP = 0.3  # share of a cell's height that its bias takes
SMALL, TINY = 7, 5.5
HEADED = "-|>,head_width=0.13,head_length=0.22"
SHORT = (
    (r".*projection$", "projection"),
    (r"_?(embedding|proj)$", ""),
    (r"(pre|post|final)?_?(layer_?norm|layr?norm)", "LN"),
    (r"^out$", "o"),
)

Cells = Mapping[str, tuple[ParameterGroup, ...]]


def draw(parameters: ParameterMap, heading: tuple[str, str]) -> Figure:
    """Return the diagram."""
    from matplotlib.figure import Figure

    towers: list[TowerName] = [name for name in ("text", "image") if parameters.tower(name)]
    columns = {name: _Column(parameters, name) for name in towers}
    drawn = sum(column.width for column in columns.values()) + BETWEEN * (len(towers) - 1)
    width = max(LEAST, drawn + 2 * MARGIN)
    tallest = max(column.height for column in columns.values())
    height = LEGEND + FOOT + tallest + 2 * DECISION + TITLE
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    axes.text(MARGIN, height - 0.08, heading[0], size=9, weight="bold", va="top")
    _say(axes, MARGIN, height - 0.25, heading[1], va="top")
    left, top = MARGIN, LEGEND + FOOT + tallest
    for column in columns.values():
        column.draw(axes, left, LEGEND + FOOT)
        _arrow(axes, left + LABEL + CELLS / 2, LEGEND + FOOT + column.height, top + DECISION)
        left += column.width + BETWEEN
    _decision(axes, parameters, (MARGIN + LABEL, MARGIN + drawn), top + DECISION)
    _legend(axes, _used(parameters))
    _join(axes)
    return figure


def short(module: str) -> str:
    """Return a module's name as a cell has room for: "q_proj" is "q", "layer_norm1" is "LN1"."""
    name = module.rpartition(".")[2]
    for pattern, replacement in SHORT:
        name = re.sub(pattern, replacement, name) or module.rpartition(".")[2].split("_")[0]
    return name


class _Column:
    """A tower: its stages as rows of cells, input below."""

    def __init__(self, parameters: ParameterMap, name: TowerName) -> None:
        cut = parameters.cuts.text if name == "text" else parameters.cuts.image
        levels = parameters.tower(name)
        self.name = name
        self.cut = cut or 0
        self.levels = [level for level in levels if level.stage != HEAD or level.parts]
        self.blocks = [level for level in self.levels if level.stage.startswith(BLOCK)]
        self.chips = any(level.entering for level in self.levels)
        self.width = LABEL + CELLS + self.chips * CHIP + COUNT
        self.height = len(self.levels) * (ROW + GAP) + ROW  # a row names the cells of blocks

    def draw(self, axes: Axes, left: float, bottom: float) -> None:
        y = bottom
        for index, level in enumerate(self.levels):
            self._row(axes, left, y, level, once=index < self.cut)
            y += ROW + GAP
            if index + 1 == self.cut:
                self._cut(axes, left, y - GAP / 2)
            if self.blocks and level is self.blocks[-1]:
                names = [short(module) for module in _cells(level.parts)]
                _labels(axes, left + LABEL, y + ROW * 0.36, names)
                y += ROW
        total = sum(level.tuned for level in self.levels)
        middle = left + LABEL + CELLS / 2
        words = "class prompts" if self.name == "text" else "images"
        _arrow(axes, middle, bottom - 0.13, bottom - 0.01)
        text = f"{words}  ·  {self.name} tower, {total:,} trained"
        _say(axes, middle, bottom - 0.15, text, ha="center", va="top")

    def _row(self, axes: Axes, left: float, y: float, level: Level, *, once: bool) -> None:
        name = level.stage.removeprefix(BLOCK)
        _say(axes, left + LABEL - 0.05, y + ROW / 2, name, ha="right")
        cells = _cells(level.parts)
        step = CELLS / max(1, len(cells))
        for place, parts in enumerate(cells.values()):
            _cell(axes, left + LABEL + place * step, y, step - 0.015, parts, once=once)
        if level not in self.blocks:
            added = [any(p.added for p in parts) for parts in cells.values()]
            _labels(axes, left + LABEL, y + ROW / 2, [short(m) for m in cells], added)
        if level.entering:
            self._chip(axes, left + LABEL + CELLS, y, level)
        if level.tuned:
            _say(axes, left + self.width, y + ROW / 2, f"{level.tuned:,}", ha="right")

    def _chip(self, axes: Axes, left: float, y: float, level: Level) -> None:
        from matplotlib.patches import FancyBboxPatch

        names = list(dict.fromkeys(short(part.module) for part in level.entering))
        text = names[0] + (f" +{len(names) - 1}" if len(names) > 1 else "")
        colour = ADDED if level.tuned else KEPT
        axes.add_patch(
            FancyBboxPatch((left + 0.14, y + 0.02), CHIP - 0.18, ROW - 0.04,
                           boxstyle="round,pad=0,rounding_size=0.05", color=colour, lw=0)
        )  # fmt: skip
        middle = left + 0.14 + (CHIP - 0.18) / 2
        _say(axes, middle, y + ROW / 2, text, TINY, color="white", ha="center")
        look = {"arrowstyle": HEADED, "color": colour, "lw": 0.9, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", (left, y), (left + 0.15, y + ROW / 2), arrowprops=look)

    def _cut(self, axes: Axes, left: float, y: float) -> None:
        axes.plot(
            [left + 0.1, left + self.width], [y, y], color=TEXT, lw=0.8, linestyle=(0, (3, 2))
        )
        _say(axes, left + self.width, y - 0.02, "cut", TINY, ha="right", va="top")


def _cells(parts: Sequence[ParameterGroup]) -> Cells:
    """Return the tensors of each module, in the order of its calls."""
    modules: dict[str, list[ParameterGroup]] = {}
    for part in parts:
        modules.setdefault(part.module, []).append(part)
    return {module: tuple(of) for module, of in modules.items()}


def _colour(part: ParameterGroup, *, once: bool = False) -> str:
    if part.added:
        return ADDED if part.tuned else KEPT
    return TRAINED if part.tuned else ONCE if once else FROZEN


def _used(parameters: ParameterMap) -> list[str]:
    """Return the colours that occur, in the order of the legend."""
    found = set()
    for tower in ("text", "image", "both"):
        cut = parameters.cuts.text if tower == "text" else parameters.cuts.image
        for index, level in enumerate(parameters.tower(tower)):
            once = tower != "both" and index < (cut or 0)
            parts = (*level.parts, *level.entering)
            found |= {_colour(part, once=once) for part in parts}
    return [colour for colour in KINDS if colour in found]


def _cell(
    axes: Axes, x: float, y: float, width: float, parts: Sequence[ParameterGroup], *, once: bool
) -> None:
    """Draw a module: its weights, below them its bias, and inside what stands in its place."""
    own = [part for part in parts if not part.added]
    biases = [part for part in own if part.name.endswith("bias")]
    weights = [part for part in own if part not in biases]
    added = [part for part in parts if part.added]
    strip = ROW * STRIP if biases and weights else 0
    for group, low, high in ((weights or biases, y + strip, y + ROW), (biases, y, y + strip)):
        if group and high > low:
            tuned = [part for part in group if part.tuned]
            _box(axes, x, low, width, high - low, _colour((tuned or group)[0], once=once))
    if added:
        best = max(added, key=lambda part: part.tuned)
        inset = (width * 0.2, ROW * 0.14) if own else (0.0, 0.0)
        low = y + (strip + inset[1] if own else 0)
        _box(axes, x + inset[0], low, width - 2 * inset[0], y + ROW - inset[1] - low, _colour(best))


def _box(axes: Axes, x: float, y: float, width: float, height: float, colour: str) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((x, y), width, height, facecolor=colour, linewidth=0, gid=colour))


def _join(axes: Axes) -> None:
    """Draw the boxes of each colour as one path, what was added last: a fourth of the file."""
    from matplotlib.patches import PathPatch, Rectangle
    from matplotlib.path import Path

    boxes: dict[str, list[Path]] = {colour: [] for colour in (ONCE, FROZEN, TRAINED, KEPT, ADDED)}
    for patch in list(axes.patches):
        colour = patch.get_gid()
        if isinstance(patch, Rectangle) and colour in boxes:
            boxes[colour].append(patch.get_path().transformed(patch.get_patch_transform()))
            patch.remove()
    for colour, paths in boxes.items():
        if paths:
            joined = Path.make_compound_path(*paths)
            axes.add_patch(PathPatch(joined, facecolor=colour, linewidth=0))


def _labels(
    axes: Axes, left: float, y: float, names: Sequence[str], white: Sequence[bool] = ()
) -> None:
    step = CELLS / max(1, len(names))
    for place, name in enumerate(names):
        look: dict[str, Any] = {"color": "white"} if white and white[place] else {}
        _say(axes, left + (place + 0.5) * step - 0.007, y, name, TINY, ha="center", **look)


def _say(axes: Axes, x: float, y: float, words: str, size: float = SMALL, **look: Any) -> None:
    axes.text(x, y, words, **{"size": size, "va": "center", **look})


def _arrow(axes: Axes, x: float, start: float, end: float) -> None:
    look = {"arrowstyle": HEADED, "color": TEXT, "lw": 0.8, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (x, end), (x, start), arrowprops=look)


def _decision(axes: Axes, parameters: ParameterMap, span: tuple[float, float], y: float) -> None:
    """Draw what turns embeddings into scores of classes, with its tensors."""
    from matplotlib.patches import Rectangle

    (level,) = parameters.tower("both")
    cells = _cells(level.parts)
    width = 0.62 * len(cells)
    words = "cosine similarity" if parameters.classifier == "text" else "linear layer"
    if parameters.own_decision:
        words += ", and a decision of its own"
    left, right = span
    axes.add_patch(
        Rectangle((left, y), right - left, ROW, fill=False, edgecolor=TEXT, linewidth=0.7)
    )
    _say(axes, left + 0.06, y + ROW / 2, words)
    for place, (module, parts) in enumerate(cells.items()):
        x = right - width - 0.5 + place * 0.62
        _cell(axes, x, y, 0.58, parts, once=False)
        _say(axes, x + 0.29, y + ROW / 2, short(module), TINY, color="white", ha="center")
    if level.tuned:
        _say(axes, right - 0.04, y + ROW / 2, f"{level.tuned:,}", ha="right")


def _legend(axes: Axes, colours: Sequence[str]) -> None:
    x, y = MARGIN, 0.19
    for colour in colours:
        words = KINDS[colour]
        width = 0.22 + 0.052 * len(words)
        if x + width > axes.get_xlim()[1]:
            x, y = MARGIN, y - 0.15
        _box(axes, x, y, 0.11, 0.11, colour)
        _say(axes, x + 0.15, y + 0.05, words)
        x += width + 0.08
