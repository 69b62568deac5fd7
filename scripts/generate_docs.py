"""Write the tables in the docs that are derived from the code.

A page holds `<!-- generated: NAME -->`, the table, and `<!-- end -->`. Without arguments, every
such table in README.md and docs/ is rewritten in place; `python scripts/generate_docs.py NAME`
prints one. To add a table, write a function that returns Markdown and name it in `GENERATORS`.
"""

from __future__ import annotations

import copy
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import speed_tables
import study_tables
from fewtune.core.naming import dashed
from fewtune.reports.tables import markdown_rows

ROOT = Path(__file__).resolve().parents[1]
SHOTS = 16
DIAGRAMS = ROOT / "docs" / "diagrams"
MARKED = re.compile(
    r"(?P<open><!-- generated: (?P<name>[\w-]+) -->\n)(?P<table>.*?)(?P<close><!-- end -->)",
    re.DOTALL,
)


def strategies() -> str:
    """What is trained, parameters on ViT-B/16, labels and text used, paper, by strategy."""
    rows = [
        [f"`{name}`", _what(cls), _parameters(cls), cls.uses, _paper(cls)]
        for name, cls in strategy_classes().items()
    ]
    columns = ["parameters, ViT-B/16", "labels and text used", "paper"]
    return markdown_rows(["strategy", "what is trained", *columns], rows)


def recipes() -> str:
    """Every field of every strategy's default recipe, with its source."""
    from fewtune.core.spec import Recipe

    trained = {name: cls for name, cls in strategy_classes().items() if cls.recipe is not None}
    rows = [["**source**", *(f"**{cls.source}**" for cls in trained.values())]]
    for field in Recipe.model_fields:
        rows.append([f"`{field}`", *(_recipe_cell(cls, field) for cls in trained.values())])
    return markdown_rows(["", *(f"`{name}`" for name in trained)], rows)


def recipe_fields() -> str:
    """What each recipe field means, and its default."""
    from fewtune.core.spec import Recipe

    rows = [
        [f"`{name}`", _text(field.default), field.description or ""]
        for name, field in Recipe.model_fields.items()
    ]
    return markdown_rows(["field", "default", "meaning"], rows)


def options() -> str:
    """Every option of every strategy: a row for each field that is not shared by all."""
    rows = [
        [f"`{name}`", f"`--{dashed(field)}`", _text(info.default), info.description or ""]
        for name, cls in strategy_classes().items()
        for field, info in cls.model_fields.items()
        if field != "type"
    ]
    return markdown_rows(["strategy", "option", "default", "meaning"], rows)


def run_config() -> str:
    """Every field of a run: its flag, its default and what it means."""
    from fewtune.core.fields import flag_name, flag_of
    from fewtune.core.run_config import RunConfig

    rows = [
        [f"`{flag_name(name, field)}`", flag_of(field).shown or _text(field.default),
         field.description or ""]
        for name, field in RunConfig.model_fields.items()
        if not flag_of(field).hidden
    ]  # fmt: skip
    return markdown_rows(["flag", "default", "meaning"], rows)


def datasets() -> str:
    """Name, title, group, classes, images and licence: a row for each declared dataset."""
    rows = []
    for name, dataset in declarations().items():
        sizes = [f"{dataset.sizes[split]:,}" for split in ("train", "val", "test")]
        classes = f"{len(dataset.classes):,}"
        rows.append([f"`{name}`", dataset.title, dataset.group, classes, *sizes, dataset.licence])
    header = ["name", "dataset", "group", "classes", "train", "val", "test", "licence"]
    return markdown_rows(header, rows)


def dataset_forms() -> str:
    """The forms that each dataset is read from, and the sources of its prompts."""
    rows = []
    for name, dataset in declarations().items():
        sources = sorted(
            dataset.prompt_sets, key=lambda source: (source != dataset.default_prompts, source)
        )
        forms = dict.fromkeys(reader.layout for reader in dataset.readers)
        rows.append([f"`{name}`", "; ".join(forms), ", ".join(f"`{s}`" for s in sources)])
    return markdown_rows(["name", "read from", "prompts, the default first"], rows)


def diagrams() -> str:
    """A diagram of each strategy, described in words."""
    return "\n".join(
        f"![{subject.words()}]({(DIAGRAMS / f'{name}.svg').relative_to(ROOT / 'docs')})\n"
        for name, subject in subjects().items()
    )


def speed(name: str) -> str:
    """One benchmark, a row for each comparison."""
    rows = speed_tables.rows(name)
    return markdown_rows(speed_tables.HEADER, rows) if rows else "Not measured yet.\n"


GENERATORS: dict[str, Callable[[], str]] = {
    "datasets": datasets,
    "diagrams": diagrams,
    "dataset-forms": dataset_forms,
    "strategies": strategies,
    "recipes": recipes,
    "recipe-fields": recipe_fields,
    "run-config": run_config,
    "options": options,
    "study": lambda: markdown_rows(study_tables.HEADER, study_tables.summary()),
    **{
        f"{study.prefix}-{name}": partial(study_tables.markdown, study, name)
        for study in study_tables.STUDIES
        for name in study.tables
    },
    "speed-machine": lambda: markdown_rows(["", ""], speed_tables.machines()),
    **{f"speed-{name}": partial(speed, name) for name in speed_tables.TABLES},
}


@cache
def generate(name: str) -> str:
    """Return the table called `name`.

    Raises:
        SystemExit: There is no such table.
    """
    if name not in GENERATORS:
        raise SystemExit(f"There is no table {name!r}. Known: {', '.join(sorted(GENERATORS))}.")
    return GENERATORS[name]()


def pages() -> list[Path]:
    """Return the pages that may hold generated tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def regenerate(text: str) -> str:
    """Return a page's text with every marked table made again."""
    return MARKED.sub(lambda m: m["open"] + generate(m["name"]) + m["close"], text)


def strategy_classes() -> dict[str, Any]:
    """Return every strategy of this package by name."""
    from fewtune.core.discovery import plugins
    from fewtune.model.load_strategy import load_strategy

    return {name: load_strategy(name) for name in plugins("strategies")}


def declarations() -> dict[str, Any]:
    """Return every declared dataset by name, VTAB first."""
    from fewtune.datasets import catalog

    declared = catalog.declared()
    return {name: catalog.load(name) for name in catalog.summaries() if name in declared}


def _text(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _recipe_cell(cls: Any, field: str) -> str:
    ours = " (ours)" if field in cls.ours and cls.source != "ours" else ""
    return _text(getattr(cls.recipe, field)) + ours


def _what(cls: Any) -> str:
    """Return what follows the colon of the module docstring's first line, without its full stop."""
    words = inspect.getdoc(sys.modules[cls.__module__]) or ""
    return words.partition("\n")[0].partition(": ")[2].rstrip(".")


def _paper(cls: Any) -> str:
    """Return the reference that the docstring of the strategy's module names."""
    from fewtune.reports.citations import paper_of

    words = paper_of(cls)
    if words and words == cls.citation_key():
        raise SystemExit(f"{cls.__module__}: the docstring's second paragraph names no paper.")
    return words or "none"


def _parameters(cls: Any) -> str:
    """Return the number of trained parameters on ViT-B/16, as a function of the classes C."""
    one, two = (count(cls, classes) for classes in (100, 101))
    fixed, per_class = one - 100 * (two - one), two - one
    terms = [f"{fixed:,}"] * (fixed > 0 or not per_class) + [f"{per_class:,} C"] * (per_class > 0)
    return " + ".join(terms)


def count(cls: Any, classes: int) -> int:
    """Return the tensors' elements that a strategy trains on ViT-B/16, 16 images per class."""
    import torch

    from fewtune.core.spec import Recipe
    from fewtune.core.task import ClassSet

    names = ClassSet(tuple(f"class {i}" for i in range(classes)), counts=(SHOTS,) * classes)
    strategy, trained, head = cls(), {}, None
    with torch.device("meta"):
        model = shape_of_vit_b16()
        for phase in strategy.phases(cls.recipe or Recipe()):
            head = phase.attach(model, names, head)
            trained.update(head.trainable())
    return sum(parameter.numel() for parameter in trained.values())


def shape_of_vit_b16() -> Any:
    """Return CLIP ViT-B/16 without weights, on the meta device."""
    import torch

    from fewtune.backbones.clip import ClipImageTower, ClipTextTower
    from fewtune.core.preprocess import Preprocess
    from fewtune.model.dual_encoder import DualEncoder

    class Tokens:
        context = 77

        def __call__(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
            words = [len(text.replace(".", " .").split()) for text in texts]
            with torch.device("cpu"):  # what prompts begin with is read from their ids
                ids = torch.zeros(len(texts), max(words) + 2, dtype=torch.long)
                return ids, torch.zeros(len(texts)).long()

    net = copy.deepcopy(_net_of_vit_b16())
    return DualEncoder(
        net,
        ClipImageTower(net),
        ClipTextTower(net),
        Tokens(),
        dim=net.config.projection_dim,
        logit_scale=100.0,
        preprocess=Preprocess(224, (0.5,) * 3, (0.5,) * 3),
        name="ViT-B16",
        revision="shape only",
    )


@cache
def subjects() -> dict[str, Any]:
    """Return what is drawn of each strategy that changes or adds something, on picto."""
    from fewtune.analysis.diagram import of_model
    from fewtune.backbones import clip
    from fewtune.backbones.model_names import PICTO

    model = clip.load(PICTO)
    drawn = {n: of_model(c(), copy.deepcopy(model)) for n, c in strategy_classes().items()}
    return {
        n: s
        for n, s in drawn.items()
        if any(part.added or part.tuned for part in s.parameters.parts)
    }


def drawn_diagrams() -> Iterator[tuple[Path, str]]:
    """Yield a diagram of each strategy: where it belongs, and its SVG."""
    from fewtune.analysis.diagram_drawing import draw
    from fewtune.reports.figures import alone, style, svg

    for name, subject in subjects().items():
        with style():
            drawn = svg(draw(subject.parameters, subject.heading()))
        yield DIAGRAMS / f"{name}.svg", alone(drawn, subject.words())


def draw_figures() -> None:
    """Write the figures that the docs show, where they have changed."""
    for path, text in (*drawn_diagrams(), *study_tables.drawings()):
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"rewrote {path.relative_to(ROOT)}")


@cache
def _net_of_vit_b16() -> Any:
    from transformers import CLIPConfig, CLIPModel

    return CLIPModel(CLIPConfig(vision_config={"patch_size": 16}))


def main(arguments: list[str]) -> None:
    """Print the named tables, or rewrite all pages."""
    for name in arguments:
        print(generate(name), end="")
    for page in [] if arguments else pages():
        old = page.read_text(encoding="utf-8")
        new = regenerate(old)
        if new != old:
            page.write_text(new, encoding="utf-8")
            print(f"rewrote {page.relative_to(ROOT)}")
    if not arguments:
        draw_figures()


if __name__ == "__main__":
    main(sys.argv[1:])
