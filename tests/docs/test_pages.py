"""The pages agree with the code and with each other: generated tables, links, marked blocks."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

import generate_docs
import markdown_blocks

ROOT = Path(__file__).parents[2]
PAGES = [*generate_docs.pages(), *(ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md"))]
REASONS = {"needs the network", "needs a GPU", "needs downloaded data", "is run by CI itself"}
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return markdown_blocks.FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Return the anchors that a Markdown renderer gives the headings of a page."""
    plain = (re.sub(r"[^\w\- ]", "", title.lower()) for title in HEADING.findall(prose(page)))
    return {title.replace(" ", "-") for title in plain}


@pytest.mark.parametrize("page", generate_docs.pages(), ids=name_of)
def test_generated_tables_are_current(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.count("<!-- generated:") == len(generate_docs.MARKED.findall(text))
    for match in generate_docs.MARKED.finditer(text):
        assert match["table"] == generate_docs.generate(match["name"]), (
            "Run `python scripts/generate_docs.py` and commit what it rewrote."
        )


def test_every_generator_has_a_place() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in generate_docs.pages())
    used = {match["name"] for match in generate_docs.MARKED.finditer(text)}
    assert used == set(generate_docs.GENERATORS)


def test_diagrams_are_of_the_strategies_as_they_are() -> None:
    files = {path.stem: path.read_text("utf-8") for path in generate_docs.DIAGRAMS.glob("*.svg")}
    assert {name: f"<desc>{subject.words()}</desc>" in files.get(name, "")
            for name, subject in generate_docs.subjects().items()} == dict.fromkeys(files, True), (
        "Run `python scripts/generate_docs.py` and commit docs/diagrams."
    )  # fmt: skip


def test_unknown_tables_are_named() -> None:
    with pytest.raises(SystemExit, match="no table 'nonsense'"):
        generate_docs.generate("nonsense")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_lead_somewhere(page: Path) -> None:
    dead = []
    for target in LINK.findall(prose(page)):
        file, _, anchor = target.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        path = (page.parent / file).resolve() if file else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            dead.append(target)
    assert not dead


def test_every_page_is_listed() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / link).resolve() for link in LINK.findall(prose(index))}
    listed = {index, *linked}
    assert not [name_of(page) for page in (ROOT / "docs").rglob("*.md") if page not in listed]


@pytest.mark.parametrize("page", generate_docs.pages(), ids=name_of)
def test_blocks_that_are_not_run_say_why(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    reasons = [block.not_run for block in markdown_blocks.blocks(text) if block.not_run]
    assert len(reasons) == text.count("<!-- not run"), "the comment stands right before the fence"
    assert set(reasons) <= REASONS


def test_the_readme_starts_with_a_quickstart_and_has_one_test_command() -> None:
    readme = ROOT / "README.md"
    bash = [
        block
        for block in markdown_blocks.blocks(readme.read_text(encoding="utf-8"))
        if block.language == "bash"
    ]
    assert "fewtune quickstart" in bash[0].code
    assert "pytest" in markdown_blocks.the_block(readme, "pytest")


def test_the_strategy_in_the_contributing_page_works(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (block,) = [b for b in markdown_blocks.blocks(text) if b.language == "python"]
    module = ModuleType("fewtune.strategies.bit_fit")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(block.code, "CONTRIBUTING.md", "exec"), module.__dict__)
    strategy = module.BitFit
    assert strategy.name() == "bit-fit"
    # ViT-B/16: 2 norms around 12 blocks of 12 x 768 biases (q k v o, 2 norms, fc1 with 4 x 768).
    assert generate_docs.count(strategy, classes=5) == 768 * (2 + 12 * 11)


def test_blocks_are_read_with_language_line_and_reason() -> None:
    text = (
        "a\n```bash\necho 1\n```\n\n<!-- not run: needs a GPU -->\n```python\nx = '```'\n```\n"
        "````text\n```bash\nnot a block\n```\n````\n"
    )
    found = [(b.language, b.code, b.line, b.not_run) for b in markdown_blocks.blocks(text)]
    assert found == [
        ("bash", "echo 1\n", 2, ""),
        ("python", "x = '```'\n", 7, "needs a GPU"),
        ("text", "```bash\nnot a block\n```\n", 10, ""),
    ]


def test_the_test_command_must_be_the_only_one(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```bash\npytest\n```\n```bash\nls\n```\n")
    assert markdown_blocks.the_block(page, "pytest") == "pytest\n"
    page.write_text("```bash\npytest\n```\n```bash\npytest -x\n```\n")
    with pytest.raises(SystemExit, match="2 bash blocks"):
        markdown_blocks.the_block(page, "pytest")
