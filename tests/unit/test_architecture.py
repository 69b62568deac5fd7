"""The rules of the source tree that no linter checks: sizes, names, words, lazy imports."""

from __future__ import annotations

import ast
import re
import resource
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import FrameType

import pytest
from PIL import Image

from duplicates import code_lines, duplicates
from fewtune.core.spec import Plan, Recipe
from fewtune.data.decode import open_image
from fewtune.strategies.clip_lora import ClipLora
from fewtune.testing import tiny_clip, tiny_task
from fewtune.training.loop import Training
from fewtune.training.run_model import attach

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "fewtune"
MAX_FILE_LINES = 399
MAX_FUNCTION_LINES = 49
HELP_BUDGET_S = 0.4

# The way of an image from file to loss, in the order in which it passes through the files. Of two
# neighbours, one imports the other.
WAY = (
    "data/decode.py",
    "training/image_loader.py",
    "training/feature_cache.py",
    "training/loop.py",
    "model/towers.py",
    "model/head.py",
)
WAY_LINES = 1400
# What else runs on the way, and what it is asked.
HELPERS = {
    "backbones/clip.py",  # the stages of a tower
    "data/quiet_pillow.py",  # warnings of libraries
    "data/test_guard.py",  # whether this is a test image
    "model/dropout.py",  # masks
    "model/dual_encoder.py",  # the device, and which tower a batch enters
    "model/lora.py",  # the method's own layers
    "training/device.py",  # copies
}

HEAVY = {"torch", "torchvision", "transformers", "peft", "torchmetrics", "matplotlib"}
LIGHT_PARTS = ("cli", "data", "datasets", "protocols")
LIGHT_CORE = (
    "task", "draws", "spec", "files", "errors", "preprocess", "discovery", "protocol",
)  # fmt: skip

TEXT_SUFFIXES = {".py", ".md", ".toml", ".yaml", ".cff", ".txt", ".json", ".html", ".js", ".css"}
CODE_FOLDERS = ("src", "tests", "benchmarks", "pretraining", "examples", "scripts")
TEXT_FOLDERS = (*CODE_FOLDERS, "docs", "experiments", ".ci")
UNFINISHED = re.compile("|".join(["TODO", "FIXME", "XXX", "NotImplementedError"]))
SKIPPED = re.compile(r"pytest\.(importor)?skip\b|mark\.(skip|xfail)|pytest\.xfail|unittest\.skip")
# Written with classes of one letter so that this file does not match itself.
BACKSTAGE = re.compile(
    r"[/](work|opt)/(main|venv|wheels|pypi|shared)|[/]tmp/w/|\.\.[/]shared"
    r"|\bissues? [#]?\d|\b(this|earlier|later|previous) [s]ession\b|\bhelper [s]ession"
)


def python_files(*folders: str) -> list[Path]:
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return sorted([*files, *(ROOT.glob("*.py") if folders == CODE_FOLDERS else [])])


def text_files() -> list[Path]:
    inside = [path for folder in TEXT_FOLDERS for path in (ROOT / folder).rglob("*")]
    files = [path for path in [*inside, *ROOT.glob("*")] if path.is_file()]
    return sorted(
        path
        for path in files
        if (path.suffix in TEXT_SUFFIXES or path.name in {"NOTICE", "check", "run"})
        and "__pycache__" not in path.parts
    )


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def test_files_are_short() -> None:
    lengths = {
        p: len(p.read_text(encoding="utf-8").splitlines()) for p in python_files(*CODE_FOLDERS)
    }
    assert lengths
    too_long = [f"{name_of(p)}: {n} lines" for p, n in lengths.items() if n > MAX_FILE_LINES]
    assert not too_long


def test_functions_are_short() -> None:
    too_long = [
        f"{name_of(path)}:{node.lineno} {node.name}: {node.end_lineno - node.lineno + 1} lines"
        for path in python_files("src")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > MAX_FUNCTION_LINES
    ]
    assert not too_long


def test_modules_have_docstrings() -> None:
    bare = [
        name_of(path)
        for path in python_files(*CODE_FOLDERS)
        if path.stat().st_size and not ast.get_docstring(tree_of(path))
    ]
    assert not bare
    empty_package = [name_of(p) for p in python_files("src") if not p.stat().st_size]
    assert not empty_package


def may_share_its_name(path: Path) -> bool:
    """Whether a file may have the name of another, for a reason that a reader sees at once."""
    folder = path.parent.relative_to(SOURCE).as_posix()
    if path.name == "__init__.py":
        return True
    if folder == "cli":  # a command has the name that people type: `fewtune data` is cli/data.py
        return re.search(r"^command\b", path.read_text(encoding="utf-8"), re.MULTILINE) is not None
    # The folder is the registry: VTAB's pets are another task than those of the few-shot datasets.
    return folder in ("datasets/vtab", "datasets/fewshot")


def test_no_two_files_and_no_two_classes_have_one_name() -> None:
    files = Counter(p.name for p in python_files("src") if not may_share_its_name(p))
    classes = Counter(
        node.name
        for path in python_files("src")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ClassDef)
    )
    assert not [name for name, count in (files + classes).items() if count > 1]


def test_logic_that_is_written_twice_is_found_where_it_is(tmp_path: Path) -> None:
    twice = "".join(f"    x = {number}\n" for number in range(5))
    (tmp_path / "a.py").write_text(f"def a(x):\n    'About.'\n{twice}    return x\n")
    (tmp_path / "b.py").write_text(f"import a\ndef b(y):\n    # Why.\n{twice}    return y\n")
    files = [code_lines(path) for path in sorted(tmp_path.iterdir())]
    (found,) = duplicates(files, 4)
    assert [(lines[0][0].name, lines[0][1], len(lines)) for lines in found] == [
        ("a.py", 3, 5),
        ("b.py", 4, 5),
    ]
    assert not duplicates(files, 6)


def matches(pattern: re.Pattern[str], files: list[Path]) -> list[str]:
    return [
        f"{name_of(path)}:{number}: {line.strip()[:80]}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if path != Path(__file__) and pattern.search(line)
    ]


def test_nothing_is_left_unfinished_or_skipped() -> None:
    assert not matches(UNFINISHED, python_files(*CODE_FOLDERS))
    assert not matches(SKIPPED, python_files("tests"))


def test_no_text_speaks_of_how_it_was_made() -> None:
    assert not matches(BACKSTAGE, text_files())


def module_path(module: str) -> Path | None:
    """Return the file of a fewtune module, or None for a name inside a module."""
    base = ROOT / "src" / Path(*module.split("."))
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if path.is_file():
            return path
    return None


def is_type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield what runs when a module is imported: not functions, not `if TYPE_CHECKING`."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        yield node
        if is_type_checking(node):
            yield from statements(node.orelse)
            continue
        for field in ("body", "orelse", "finalbody"):
            yield from statements(getattr(node, field, []))
        for handler in getattr(node, "handlers", []):
            yield from statements(handler.body)


def module_level_imports(path: Path) -> set[str]:
    """Return the dotted names that importing a file imports, the file's own functions apart."""
    names: set[str] = set()
    for node in statements(tree_of(path).body):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}:{node.lineno}: relative import"
            module = node.module or ""
            names |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return names


def heavy_chain(path: Path, seen: set[Path]) -> list[str] | None:
    """Return a chain of imports that leads from a file to a heavy library, or None."""
    seen.add(path)
    for name in sorted(module_level_imports(path)):
        if name.split(".")[0] in HEAVY:
            return [name_of(path), name.split(".")[0]]
        parts = name.split(".")
        parents = [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
        for inner in filter(None, map(module_path, parents if parts[0] == "fewtune" else [])):
            if inner not in seen and (chain := heavy_chain(inner, seen)):
                return [name_of(path), *chain]
    return None


def light_files() -> list[Path]:
    parts = [path for part in LIGHT_PARTS for path in (SOURCE / part).rglob("*.py")]
    core = [SOURCE / "core" / f"{name}.py" for name in LIGHT_CORE]
    return sorted([SOURCE / "__init__.py", *parts, *(path for path in core if path.exists())])


@pytest.mark.parametrize("path", light_files(), ids=name_of)
def test_light_modules_reach_no_heavy_library(path: Path) -> None:
    chain = heavy_chain(path, set())
    assert chain is None, " imports ".join(chain or [])


def imported_by(*arguments: str) -> set[str]:
    """Run `python -m fewtune ARGUMENTS` and return the top-level packages that it imported."""
    command = [sys.executable, "-X", "importtime", "-m", "fewtune", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip()
    timed = re.findall(r"^import time: .*\| +(\S+)$", done.stderr, flags=re.MULTILINE)
    assert "fewtune" in timed
    return {name.split(".")[0] for name in timed}


@pytest.mark.parametrize("arguments", [("--help",), ("list",)], ids=" ".join)
def test_the_first_commands_load_no_heavy_library(arguments: tuple[str, ...]) -> None:
    assert not imported_by(*arguments) & HEAVY


def test_help_starts_quickly() -> None:
    def help_s() -> float:
        """Return processor seconds: wall seconds on a free machine, and steady on a busy one."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "fewtune", "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(help_s() for _ in range(3)) < HELP_BUDGET_S


def test_the_suite_is_offline() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection,
        pytest.raises(RuntimeError, match="offline"),
    ):
        connection.connect(("192.0.2.1", 80))


def test_loopback_stays_open() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname(), timeout=5) as client,
    ):
        assert client.getpeername() == server.getsockname()


def test_the_way_of_an_image_is_short() -> None:
    texts = {name: (SOURCE / name).read_text(encoding="utf-8") for name in WAY}
    assert sum(len(text.splitlines()) for text in texts.values()) <= WAY_LINES
    modules = [f"fewtune.{name.removesuffix('.py').replace('/', '.')}" for name in WAY]
    imported = [module_level_imports(SOURCE / name) for name in WAY]
    for index, (one, two) in enumerate(pairwise(modules)):
        assert one in imported[index + 1] or two in imported[index], f"{one}, {two}"
    design = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    named = re.findall("|".join(map(re.escape, WAY)), design)
    assert tuple(dict.fromkeys(named)) == WAY


@pytest.fixture
def training(tmp_path: Path) -> Training:
    """A phase whose images are files and whose cache is off, before its first step."""
    task, images = tiny_task(), []
    for example in task.train:
        path = tmp_path / f"{len(images)}.png"
        Image.fromarray(example.source.read()).save(path)  # type: ignore[union-attr]
        images.append(replace(example, source=path))
    support = replace(task, train=tuple(images)).support()
    recipe = Recipe(batch_size=4, length=1, length_unit="steps")
    head = attach(ClipLora(), tiny_clip(tmp_path / "clip"), support.classes, recipe, 0)
    plan = Plan(device="cpu", threads=1, cache=False)
    training = Training(head, support, recipe, plan, "fp32", 0, 0)
    assert training.classes  # prompts are tokenised once, before the first step
    return training


def test_an_image_takes_its_way_through_these_files_and_no_others(training: Training) -> None:
    """A file is on the way from when another file returns to it, so that it has the image."""
    ran: list[str] = []
    received: list[str] = []

    def file_of(frame: FrameType | None) -> str:
        path = Path(frame.f_code.co_filename) if frame else SOURCE
        return path.relative_to(SOURCE).as_posix() if path.is_relative_to(SOURCE) else ""

    def follow(frame: FrameType, event: str, _: object) -> None:
        file, caller = file_of(frame), file_of(frame.f_back)
        if file and event == "call" and (ran or frame.f_code is open_image.__code__):
            ran.append(file)
        if file and event == "return" and ran and caller not in ("", ".", file):
            received.append(caller)

    # Images are read in threads, which are started now.
    threading.setprofile(follow)
    sys.setprofile(follow)
    try:
        training.forward(0)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    passed = [file for file in dict.fromkeys([ran[0], *received]) if file not in HELPERS]
    assert tuple(passed) == WAY
    assert {*ran, *received} == {*WAY, *HELPERS}
