"""Strategies of other packages: listed, cited, recorded; a wrong one is refused with its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from fewtune.core import discovery
from fewtune.core.discovery import strategy_names
from fewtune.core.errors import ConfigError
from fewtune.model.load_strategy import load_strategy
from fewtune.reports.citations import owed
from fewtune.training.run_folder import environment

SOURCE = """\"\"\"Plugged: nothing is trained.

Doe, "Plugged", 2026.
\"\"\"

from fewtune.model.head import Head
from fewtune.model.strategy import Strategy


class Plugged(Strategy):
    title = "Plugged"
    citation = \"\"\"@misc{doe2026plugged,
  title = {Plugged},
  author = {Doe},
  year = {2026},
}\"\"\"

    def attach(self, model, classes):
        return Head(model, classes, self.classifier)
"""


def install(root: Path, package: str, module: str, name: str, source: str = SOURCE) -> Path:
    """Write what pip would leave of a package with one strategy."""
    file = root.joinpath(*module.split(".")).with_suffix(".py")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(source)
    info = root / f"{package}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
    discovery._entries_on.cache_clear()
    (info / "entry_points.txt").write_text(f"[fewtune.strategies]\n{name} = {module}\n")
    return file


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("module", ["plugged", "my_methods_a.plugged"])
def test_a_plug_in_is_listed_cited_and_recorded(site: Path, module: str) -> None:
    install(site, "my-methods", module, "plugged")
    if "." in module:  # listing imports no package
        (site / "my_methods_a" / "__init__.py").write_text("raise RuntimeError('imported')")
    assert strategy_names()["plugged"] == "Plugged: nothing is trained."
    if "." in module:
        (site / "my_methods_a" / "__init__.py").write_text("")
    spec = {"strategy": "plugged", "backbone": "ViT-B/16"}
    text, _ = owed([(spec, {"citation": "", "name": "photos"})])
    assert "doe2026plugged" in text
    assert environment("plugged")["my-methods"] == "1.2"
    assert "my-methods" not in environment("clip-lora")


def test_a_name_that_is_taken_is_refused(site: Path) -> None:
    install(site, "my-lora", "my_lora", "clip-lora")
    with pytest.raises(ConfigError, match=r"FewTune and my-lora each have.*pip uninstall my-lora"):
        load_strategy("clip-lora")
    assert strategy_names()["clip-lora"].startswith("CLIP-LoRA: ")
    for package in ("one", "two"):
        install(site, package, f"{package}_module", "same")
    with pytest.raises(ConfigError, match=r"(one and two|two and one) each have a strategy 'same'"):
        load_strategy("same")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import no_such_module", r"broken_a.py, line 1\): ModuleNotFoundError: .*no_such_module"),
        ("def f(:", r"broken_b.py, line 1\): SyntaxError"),
        ("x = 1\nx.y", r"broken_c.py, line 2\): AttributeError"),
    ],
)
def test_an_import_error_names_the_file(site: Path, source: str, message: str) -> None:
    name = message.partition(".")[0]
    install(site, name, name, name.replace("_", "-"), source)
    with pytest.raises(ConfigError, match=message):
        load_strategy(name)


def test_a_package_that_lost_its_module_is_named(site: Path) -> None:
    install(site, "lost-methods", "lost_methods", "lost").unlink()
    assert strategy_names()["lost"] == "plug-in lost_methods"
    with pytest.raises(ConfigError, match=r"\(lost_methods\): ModuleNotFoundError"):
        load_strategy("lost")


def test_packages_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    discovery._entries_on.cache_clear()
    read: list[str] = []
    monkeypatch.setattr(discovery, "entry_points", lambda group: read.append(group) or ())
    for _ in range(3):
        load_strategy("zero-shot")
    assert len(read) == 1
    discovery._entries_on.cache_clear()
