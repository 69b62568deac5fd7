"""Strategies on their way to other machines: source text, unpacked where workers import it.

A strategy may be a file that somebody dropped into this package, or a package of its own that is
installed here alone. Neither needs to be on the machine that trains.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from fewtune.core.discovery import ENTRY_POINTS
from fewtune.core.errors import ConfigError, FewTuneError
from fewtune.core.files import digest, write_folder, write_text
from fewtune.core.paths import cache_dir

if TYPE_CHECKING:
    from fewtune.model.strategy import Strategy

PACKAGE = "fewtune.strategies"
SITE, OWN = "site", "strategies"  # folders of what is unpacked


@dataclass(frozen=True)
class Sources:
    """Everything that a worker needs to import the strategies of a sweep.

    Attributes:
        own: Text of the files of `fewtune.strategies`, by file name.
        site: Text of the files of other packages, by path below their import root.
        names: Module of each strategy of other packages, by the strategy's name.
    """

    version: str
    own: dict[str, str]
    site: dict[str, str]
    names: dict[str, str]


def pack(kinds: Iterable[type[Strategy]]) -> Sources:
    """Return the sources of these strategies and of what they may import beside FewTune."""
    own: dict[str, str] = {}
    for folder in importlib.import_module(PACKAGE).__path__:
        own |= {file.name: _text(file) for file in sorted(Path(folder).glob("*.py"))}
    site: dict[str, str] = {}
    names: dict[str, str] = {}
    for kind in kinds:
        if kind.__module__.rpartition(".")[0] != PACKAGE:
            names[kind.name()] = kind.__module__
            site |= _package(kind.__module__.partition(".")[0])
    return Sources(version("fewtune"), own, site, names)


def unpack(sources: Sources) -> None:
    """Make the strategies importable in this process, over those that are installed.

    Raises:
        ConfigError: Another version of FewTune is installed here, or another text of one of its
            strategies is in use already.
        RunError: The cache folder cannot be written.
    """
    here = version("fewtune")
    if here != sources.version:
        raise ConfigError(
            f"FewTune {here} is installed here, and {sources.version} where the sweep was started.",
            hint=f"On every machine: pip install fewtune=={sources.version}",
        )
    for file, text in sources.own.items():
        module = sys.modules.get(f"{PACKAGE}.{file.removesuffix('.py')}")
        if module is not None and module.__file__ and _text(Path(module.__file__)) != text:
            raise ConfigError(
                f"The strategy file {file} is another one here than where the sweep was started.",
                hint="Install the same FewTune on every machine.",
            )
    folder = cache_dir() / "shipped" / digest(asdict(sources))[:16]
    if not folder.exists():
        try:
            write_folder(folder, lambda new: _write(sources, new))
        except FewTuneError:
            if not folder.exists():  # else another worker of this machine was faster
                raise
    importlib.import_module(PACKAGE).__path__[:0] = [str(folder / OWN)]
    sys.path[:0] = [str(folder / SITE)]
    importlib.invalidate_caches()


def _write(sources: Sources, folder: Path) -> None:
    for file, text in sources.own.items():
        write_text(folder / OWN / file, text)
    for file, text in sources.site.items():
        write_text(folder / SITE / file, text)
    # What makes importlib.metadata list the strategies, as if their packages were installed.
    about = folder / SITE / "fewtune_shipped-0.dist-info"
    lines = [f"{name} = {module}\n" for name, module in sources.names.items()]
    write_text(about / "METADATA", "Metadata-Version: 2.1\nName: fewtune-shipped\nVersion: 0\n")
    write_text(about / "entry_points.txt", f"[{ENTRY_POINTS}]\n{''.join(lines)}")


def _package(name: str) -> dict[str, str]:
    """Return the text of the Python files of an imported top-level module or package."""
    module = sys.modules[name]
    roots = [Path(path) for path in getattr(module, "__path__", ())]
    if not roots:
        assert module.__file__
        return {f"{name}.py": _text(Path(module.__file__))}
    return {
        f"{name}/{file.relative_to(root).as_posix()}": _text(file)
        for root in roots
        for file in sorted(root.rglob("*.py"))
    }


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8")
