"""Benchmark datasets for people: which there are, what is known of one, and how to get it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewtune.cli.support.console import Console
from fewtune.core.errors import ConfigError
from fewtune.core.paths import data_dir
from fewtune.datasets import catalog
from fewtune.datasets.declaration import Dataset
from fewtune.datasets.download.download_plan import size_bytes, targets
from fewtune.datasets.loading import places, words
from fewtune.datasets.samples import SAMPLES

if TYPE_CHECKING:
    from fewtune.datasets.download.fetch_dataset import Tell

# Drawn when they are read, so they are found everywhere; what is on disk is told first.
NOT_ON_DISK = "regenerated"
EXAMPLES = 3


@dataclass(frozen=True)
class ListedBenchmark:
    """A declared dataset and where it is on this machine.

    Attributes:
        found: Form and place, the most trustworthy first; what needs no files last.
    """

    name: str
    dataset: Dataset
    found: tuple[tuple[str, Path], ...]

    @classmethod
    def of(cls, name: str, root: Path) -> ListedBenchmark:
        """Look for a dataset below a folder."""
        dataset = catalog.load(name)
        found = places(dataset.readers, root)
        return cls(name, dataset, tuple((reader.layout, place) for reader, place in found))

    @property
    def on_disk(self) -> tuple[tuple[str, Path], ...]:
        """Return the forms that are files."""
        return tuple(entry for entry in self.found if not entry[0].startswith(NOT_ON_DISK))

    def where(self) -> str:
        """Return the form that is read, or how to get one."""
        if self.found:
            return self.found[0][0]
        return "not here: download" if self.dataset.downloads else "not here: by hand"

    def to_json(self) -> dict[str, Any]:
        """Return all but prompts and class names as JSON values."""
        dataset = self.dataset
        size, complete = size_bytes(dataset)
        return {
            "name": self.name,
            "title": dataset.title,
            "group": dataset.group,
            "classes": len(dataset.classes),
            "sizes": dict(dataset.sizes),
            "licence": dataset.licence,
            "homepage": dataset.homepage,
            "can_be_downloaded": bool(dataset.downloads),
            "download_bytes": size if complete and dataset.downloads else None,
            "by_hand": dataset.by_hand,
            "notes": list(dataset.notes),
            "found": [{"layout": layout, "path": str(path)} for layout, path in self.found],
        }


def folder(root: Path | None) -> Path:
    """Return the folder of datasets: the one that is given, else the download folder."""
    return data_dir() if root is None else root.expanduser().absolute()


def declared(data: str, root: Path | None) -> str | None:
    """Return the name of the declared dataset that is meant; None for a path or the sample.

    Raises:
        ConfigError: Two datasets go by this name.
    """
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        if root is None and Path(data).expanduser().exists():
            return None
    found = _find(data)
    return None if found is None or found.name in SAMPLES else found.name


def _find(data: str) -> catalog.NamedDataset | None:
    """Return the dataset of a name, and warn where another one is meant than was named."""
    found = catalog.find(data)
    if found is not None and found.note:
        Console().warn(found.note)
    return found


def require(data: str) -> str:
    """Return the name of a declared dataset; ConfigError names close ones."""
    from fewtune.core.errors import did_you_mean

    found = _find(data)
    if found is None:
        raise ConfigError(
            f"There is no dataset called {data!r}.",
            hint=f"{did_you_mean(data, catalog.declared())} `fewtune data list` shows all.",
        )
    if found.name in SAMPLES:
        raise ConfigError(
            f"{found.name!r} comes with FewTune.", hint="Write it out: fewtune data sample DIR"
        )
    return found.name


def list_all(root: Path | None, console: Console) -> None:
    """Print every dataset on a line."""
    where = folder(root)
    entries = [ListedBenchmark.of(name, where) for name in catalog.declared()]
    if console.machine:
        console.json([entry.to_json() for entry in entries])
        return
    rows = [
        [
            entry.name,
            entry.dataset.group,
            str(len(entry.dataset.classes)),
            " / ".join(f"{number:,}" for number in entry.dataset.sizes.values()),
            _gigabytes(entry.dataset) if entry.dataset.downloads else "-",
            entry.dataset.licence,
            entry.where(),
        ]
        for entry in entries
    ]
    header = ["name", "group", "classes", "train / val / test", "GB", "licence", "on this machine"]
    console.table(header, rows, left=(0, 1, 5, 6))
    console.note(f"datasets are looked for in {where} (another folder: --root or FEWTUNE_DATA)")


def show(name: str, root: Path | None, console: Console) -> None:
    """Print what is known of a dataset."""
    entry = ListedBenchmark.of(name, folder(root))
    dataset = entry.dataset
    if console.machine:
        console.json(
            entry.to_json()
            | {
                "class_names": list(dataset.classes),
                "citation": dataset.citation,
                "label_rule": dataset.label_rule,
                "layouts": [reader.layout for reader in dataset.readers],
                "default_prompts": dataset.default_prompts,
                "prompts": {
                    source: {
                        "templates": list(prompt_set.templates),
                        "names": list(words(dataset, prompt_set)) or list(dataset.classes),
                    }
                    for source, prompt_set in dataset.prompt_sets.items()
                },
            }
        )
        return
    console.line(f"{name}: {dataset.title}")
    for title, text in _facts(entry, root):
        console.line(f"  {title:<10} {text}".rstrip())


def get(
    name: str, root: Path | None, splits: tuple[str, ...], shards: bool, console: Console
) -> None:
    """Download a dataset, unless it is here in another form."""
    from fewtune.datasets.download.fetch_dataset import download

    where = folder(root)
    entry = ListedBenchmark.of(name, where)
    aims = targets(entry.dataset, where)
    for layout, path in entry.on_disk:
        if not any(aim == path or aim in path.parents for aim in aims):
            console.line(f"{name} is here already: {layout} in {path}.")
            return
    with _bars(console) as tell:
        placed = download(entry.dataset, where, splits, tell, shards=shards)
    for path in placed:
        console.line(f"wrote    {path}")
    here = ListedBenchmark.of(name, where)
    if not here.on_disk:
        console.warn(f"{name} is not complete. {entry.dataset.by_hand}".rstrip())
    command = f"fewtune data verify {name}" + (f" --root {root}" if root else "")
    console.line(f"next     {command}")


def _facts(entry: ListedBenchmark, root: Path | None) -> Iterator[tuple[str, str]]:
    """Yield what is known, a line each: a title, and a text that may fill several lines."""
    dataset = entry.dataset
    yield "group", dataset.group
    yield "images", ", ".join(f"{count:,} {split}" for split, count in dataset.sizes.items())
    yield "classes", f"{len(dataset.classes)}: {_some(dataset.classes)}"
    if dataset.label_rule:
        yield "labels", dataset.label_rule
    for source, prompt_set in dataset.prompt_sets.items():
        names = words(dataset, prompt_set) or dataset.classes
        default = ", default" if source == dataset.default_prompts else ""
        example = prompt_set.templates[0].replace("{}", names[0].replace("_", " "))
        more = (
            f" (and {len(prompt_set.templates) - 1} more)" if len(prompt_set.templates) > 1 else ""
        )
        yield "prompts", f"{source}{default}: {example!r}{more}"
    here = {layout: str(path) for layout, path in entry.on_disk}
    here |= {layout: "needs no files" for layout, _ in entry.found if layout not in here}
    for reader in dataset.readers:
        yield "form", f"{reader.layout}: {here.get(reader.layout, 'not here')}"
    if dataset.downloads:
        yield (
            "download",
            f"fewtune data download {entry.name}" + (f" --root {root}" if root else ""),
        )
    if dataset.by_hand:
        yield "by hand", dataset.by_hand
    for note in dataset.notes:
        yield "note", note
    yield "licence", dataset.licence
    yield "homepage", dataset.homepage
    yield "cite", dataset.citation.replace("\n", "\n" + " " * 13)


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(map(repr, names[:EXAMPLES])) + (", ..." if len(names) > EXAMPLES else "")


def _gigabytes(dataset: Dataset) -> str:
    """Return "0.6", "0.6+" where the size of some files is not known, "?" where that of none is."""
    size, complete = size_bytes(dataset)
    return f"{size / 1e9:.1f}{'' if complete else '+'}" if size else "?"


@contextlib.contextmanager
def _bars(console: Console) -> Iterator[Tell]:
    """Show a bar for each file on a terminal, a line elsewhere."""
    seen: dict[str, Any] = {}
    if not console.live:

        def tell_line(text: str, done: int, total: int | None) -> None:
            if text not in seen:
                seen[text] = done
                console.note(text)

        yield tell_line
        return
    from rich import progress as bars

    columns = (
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(bar_width=None),
        bars.DownloadColumn(),
        bars.TransferSpeedColumn(),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=console.rich(), expand=True) as progress:

        def tell_bar(text: str, done: int, total: int | None) -> None:
            if text not in seen:
                for earlier in seen.values():
                    progress.update(earlier, visible=False)
                seen[text] = progress.add_task(text, total=total)
            progress.update(seen[text], completed=done, total=total)

        yield tell_bar
