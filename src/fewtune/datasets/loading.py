"""Loading of a declared dataset: find its files, read them, choose the prompts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from fewtune.core.errors import ConfigError, DataError, did_you_mean
from fewtune.core.naming import counted, present
from fewtune.core.task import Task
from fewtune.data.findings import Finding
from fewtune.data.label_table import to_task
from fewtune.data.text_files import read_descriptions
from fewtune.datasets.declaration import Dataset, PromptSet, Reader, Subset
from fewtune.datasets.vtab_slices import TRAIN, VAL

# Train and val of VTAB-1k, in one list or in two.
VTAB_SIZES = ((TRAIN + VAL, 0), (TRAIN, VAL))
VTAB = ("natural", "specialised", "structured")


@dataclass(frozen=True)
class Choice:
    """How a dataset is to be read; None leaves the choice to FewTune."""

    prompts: str | None = None
    subset: Subset | None = None
    layout: str | None = None
    templates: Sequence[str] | None = None
    descriptions: Path | None = None
    few_shot: bool = False


def open_dataset(
    name: str, dataset: Dataset, root: Path, choice: Choice, notes: Sequence[str] = ()
) -> Task:
    """Return a declared dataset as a task.

    Args:
        root: Folder below which it lies.

    Raises:
        ConfigError: The dataset has no such subset, layout or prompt source.
        DataError: It is not below `root`, or cannot be read.
    """
    subset = _subset(name, dataset, choice)
    source, prompt_set = _prompt_set(name, dataset, choice.prompts)
    there = _find(name, dataset, root, choice.layout)
    reader, location = there[0]
    table = reader.read(location, dataset, subset)
    texts = read_descriptions(choice.descriptions, dataset.classes) if choice.descriptions else None
    task = to_task(
        table,
        name.replace("/", "-"),
        templates=choice.templates or prompt_set.templates,
        descriptions=texts,
        licence=dataset.licence,
        citation=dataset.citation,
    )
    others = ", ".join(other.layout for other, _ in there[1:])
    said = (
        *notes,
        *task.notes,
        *([f"subset: {_SUBSETS[subset]}"] if dataset.group in VTAB else []),
        *([f"also there: {others} (--layout)"] if others else []),
        f"prompts: {source}",
        *dataset.notes,
    )
    classes = replace(task.classes, words=words(dataset, prompt_set))
    return replace(task, classes=classes, notes=tuple(said), benchmark=True)


def places(readers: Sequence[Reader], root: Path) -> list[tuple[Reader, Path]]:
    """Return the readers that find their form below a folder, and where."""
    found = [(reader, reader.find(root)) for reader in readers]
    return [(reader, location) for reader, location in found if location is not None]


def words(dataset: Dataset, prompt_set: PromptSet) -> tuple[str, ...]:
    """Return what stands for each class in prompts, in label order; () if it is the names."""
    if not prompt_set.names:
        return ()
    return tuple(prompt_set.names.get(known, known) for known in dataset.classes)


_SUBSETS: dict[Subset, str] = {
    "1000": "VTAB-1k's 1,000 training images",
    "800": "VTAB-1k's 800 training and 200 validation images",
    "full": "whole training and validation splits",
}


def _subset(name: str, dataset: Dataset, choice: Choice) -> Subset:
    if dataset.group in VTAB:
        return choice.subset or ("full" if choice.few_shot else "1000")
    if choice.subset not in (None, "full"):
        raise ConfigError(
            f"{name} has no subset of {choice.subset} images; such are of VTAB's tasks.",
            hint="Leave out --subset, or draw with --shots.",
        )
    return "full"


def _prompt_set(name: str, dataset: Dataset, source: str | None) -> tuple[str, PromptSet]:
    known = {str(name_of): prompt_set for name_of, prompt_set in dataset.prompt_sets.items()}
    chosen = present(source or dataset.default_prompts)
    if chosen not in known:
        raise ConfigError(
            f"{name} has no prompts of {chosen!r}.",
            hint=f"{did_you_mean(chosen, known)} With --template any other can be given.",
        )
    return chosen, known[chosen]


def _find(name: str, dataset: Dataset, root: Path, layout: str | None) -> list[tuple[Reader, Path]]:
    """Return the forms in which the dataset lies below a folder, the most trustworthy first."""
    readers = dataset.readers
    if layout is not None:
        readers = tuple(r for r in readers if _fold(layout) in _fold(r.layout))
        if not readers:
            raise ConfigError(
                f"{name} is not read from a layout called {layout!r}.",
                hint=did_you_mean(layout, [reader.layout for reader in dataset.readers]),
            )
    there = places(readers, root)
    if there:
        return there
    looked = "; ".join(f"{reader.layout} ({_folder(reader)})" for reader in readers)
    raise DataError(
        f"{name} is not below {root}. Looked for: {looked}.",
        hint=f"{_way_to_get(name, dataset)} Another folder is named with --root.",
    )


def _way_to_get(name: str, dataset: Dataset) -> str:
    download = f"Download it with: fewtune data download {name}." if dataset.downloads else ""
    return " ".join(part for part in (download, dataset.by_hand) if part)


def _folder(reader: Any) -> str:
    """Return what the first field of a reader says: the folder or the archive it looks for."""
    value = next((getattr(reader, field.name) for field in fields(reader)), "")
    return " or ".join(value) if isinstance(value, tuple) else str(value)


def _fold(text: str) -> str:
    return text.lower().replace("_", "-").replace(" ", "-")


def size_findings(task: Task, sizes: Mapping[str, int]) -> Iterator[Finding]:
    """Yield a finding for each split that is larger or smaller than declared.

    Args:
        task: The dataset as it was read: its whole splits, or VTAB-1k's training images.
    """
    found = {split: len(examples) for split, examples in task.splits().items()}
    drawn = (found["train"], found["val"]) in VTAB_SIZES
    for split, expected in sizes.items():
        number = found[split]
        if number == expected or (drawn and split != "test"):
            continue
        said = f"{counted(number, f'{split} image')}, where the dataset has {expected:,}"
        if number == 0 and split == "val":
            yield Finding("info", "no-validation", "this form has no validation images")
        elif abs(number - expected) == 1:
            yield Finding("info", "size", f"{said}: versions of it differ by one")
        elif number < expected:
            hint = "Files are missing: download or unpack it again."
            yield Finding("error", "size", said, hint=hint)
        else:
            hint = "Are there files of another dataset or version among them?"
            yield Finding("warning", "size", said, hint=hint)
