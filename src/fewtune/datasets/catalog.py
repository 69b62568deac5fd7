"""Dataset names: from what a user types after --data, a path or a name, to a task.

The folder is the registry: `vtab/dtd.toml` is vtab/dtd, `shift/imagenet_a.toml` is imagenet-a. Each
file declares its other names, so nothing is registered anywhere else.
"""

import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fewtune.core.errors import ConfigError, did_you_mean
from fewtune.core.paths import data_dir
from fewtune.core.task import Task
from fewtune.data.archives import refuse_packed
from fewtune.data.layouts import open_task
from fewtune.data.scan import subfolders
from fewtune.datasets import loading, samples
from fewtune.datasets.declaration import Dataset, Subset
from fewtune.datasets.samples import SAMPLES

# Folders of this package, and the prefix of the names of their datasets.
FOLDERS = {"vtab": "vtab/", "fewshot": "fewshot/", "shift": ""}
# Prefixes that others put before a name; "vtba" is a typing error in common use.
HUB_PREFIXES = ("clip-benchmark/", "djghosh/", "wds-")
SPELLINGS = {
    "vtba-": "vtab-",
    "vtab-1k-": "vtab-",
    "vtab-1k/": "vtab-",
    "vtab1k/": "vtab-",
    "vtab/": "vtab-",
    "few-shot/": "fewshot-",
    "few-shot-": "fewshot-",
    "fewshot/": "fewshot-",
}
# Names of no dataset, and the dataset that is meant.
MISTAKEN = {"smallnorb-distance": "vtab/smallnorb-elevation"}


@dataclass(frozen=True)
class NamedDataset:
    """The dataset that a name leads to.

    Attributes:
        name: "vtab/dtd".
        note: What to say where another one was named; empty otherwise.
    """

    name: str
    note: str = ""


def summaries() -> dict[str, str]:
    """Return {name: one line} of all datasets, from the first lines of their files."""
    found = {name: sample.summary for name, sample in SAMPLES.items()}
    for name, path in _files().items():
        with path.open(encoding="utf-8") as file:
            found[name] = tomllib.loads(file.readline())["summary"]
    return found


@cache
def names() -> tuple[str, ...]:
    """Return the names of all datasets, without reading their files."""
    return tuple(sorted((*SAMPLES, *_files())))


def declared() -> tuple[str, ...]:
    """Return the names of the datasets that have a declaration: all but the samples."""
    return tuple(name for name in names() if name not in SAMPLES)


@cache
def load(name: str) -> Dataset:
    """Return the declaration of the dataset with this name, "vtab/dtd"."""
    from fewtune.datasets.dataset_file import read_dataset  # imports every reader

    return read_dataset(_files()[name])


def prompt_sources(name: str) -> tuple[str, ...]:
    """Return the sources whose prompts a dataset has; none for a sample."""
    return () if name in SAMPLES else tuple(load(name).prompt_sets)


def task_name(name: str) -> str:
    """Return the name as it stands in tables and folder names: "vtab-dtd"."""
    return name.replace("/", "-")


def groups() -> dict[str, str]:
    """Return the group of each dataset, by the name of its task."""
    return {task_name(name): load(name).group for name in declared()}


def find(text: str, group: str = "") -> NamedDataset | None:
    """Return the dataset that goes by a name, or None.

    Case and "_" for "-" make no difference.

    Args:
        group: "vtab" or "fewshot" where a name of both is meant to be one of that group.

    Raises:
        ConfigError: Two datasets go by this name.
    """
    key = fold(text)
    bare = key.removeprefix("vtab-")
    if bare in MISTAKEN:
        meant = MISTAKEN[bare]
        return NamedDataset(meant, f"there is no task {text!r}; {meant} is used in its place")
    if group and not key.startswith(f"{group}-"):
        key = f"{group}-{key}"
    found = _keys().get(key, ())
    if len(found) > 1:
        lines = [f"--data {name} ({_sizes(load(name))})" for name in found]
        raise ConfigError(
            f"{text!r} is the name of two datasets, which differ in classes or splits: "
            f"{' and '.join(found)}.",
            hint=f"Type {' or '.join(lines)}.",
        )
    return NamedDataset(found[0]) if found else None


def fold(text: str) -> str:
    """Return the form in which names are compared."""
    key = text.strip().lower().replace("_", "-")
    for ignored in " \"'":
        key = key.replace(ignored, "")
    for prefix in HUB_PREFIXES:
        key = key.removeprefix(prefix)
    for given, meant in SPELLINGS.items():
        if key.startswith(given):
            return meant + key.removeprefix(given)
    return key


def resolve(
    data: str | Path,
    *,
    root: Path | None = None,
    prompts: str | None = None,
    subset: Subset | None = None,
    layout: str | None = None,
    templates: Sequence[str] | None = None,
    descriptions: Path | None = None,
    few_shot: bool = False,
) -> Task:
    """Return the task at a path, if it exists, else the dataset of that name.

    Args:
        root: Folder that holds datasets, in any form; by default the download folder.
        prompts: Source of class names and templates for prompts ("coop").
        templates: Prompt templates that replace those of the source.
        few_shot: A few images of each class will be drawn: without `subset`, from all of VTAB's
            training images.

    Raises:
        ConfigError: `data` is neither, is the name of two datasets, or an argument does not fit.
        DataError: The data cannot be found or read.
    """
    refuse_packed(str(data))
    found = None if root is None and _exists(data) else find(str(data))
    if found is not None and found.name not in SAMPLES:
        how = loading.Choice(prompts, subset, layout, templates, descriptions, few_shot)
        where = data_dir() if root is None else root.expanduser().absolute()
        notes = (found.note,) if found.note else ()
        return loading.open_dataset(found.name, load(found.name), where, how, notes)
    given = {"prompts": prompts, "subset": subset, "layout": layout}
    if found is not None:
        _refuse_for_others(data, given)
        return samples.load(SAMPLES[found.name], templates=templates, descriptions=descriptions)
    if _exists(data):
        _refuse_for_others(data, {"root": root, **given})
    if not _exists(data) and not _looks_like_path(str(data)):
        raise ConfigError(
            f"There is no dataset and no folder called '{data}'.",
            hint=f"{did_you_mean(str(data), _suggestions(str(data)))} For your own images give a "
            "folder of class folders: --data path/to/images",
        )
    return open_task(data, templates=templates, descriptions=descriptions)


@cache
def _files() -> dict[str, Path]:
    """Return the file of each declared dataset by its name."""
    return {
        f"{prefix}{file.stem.replace('_', '-')}": file
        for folder, prefix in FOLDERS.items()
        for file in sorted((Path(__file__).parent / folder).glob("*.toml"))
    }


@cache
def _keys() -> dict[str, tuple[str, ...]]:
    """Return every name in use, folded, with the datasets that go by it."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in names():
        for key in set(_keys_of(name)):
            found[key].append(name)
    return {key: tuple(where) for key, where in found.items()}


def _keys_of(name: str) -> Iterator[str]:
    group, _, tail = name.rpartition("/")
    aliases = () if name in SAMPLES else load(name).aliases
    for alias in (tail, *aliases):
        key = fold(alias)
        yield key
        if group and not key.startswith(f"{group}-"):
            yield f"{group}-{key}"


def _sizes(dataset: Dataset) -> str:
    kind = "CoOp's split" if dataset.group == "few-shot" else "VTAB"
    return f"{kind}: {len(dataset.classes)} classes, {dataset.sizes['test']:,} test images"


def _suggestions(text: str) -> list[str]:
    """Return names that could be meant: of datasets, and of folders here."""
    group = fold(text).partition("-")[0]
    of_group = [name for name in names() if name.startswith(f"{group}/")]
    return of_group or [*names(), *(folder.name for folder in subfolders(Path.cwd()))]


def _refuse_for_others(data: str | Path, given: Mapping[str, object]) -> None:
    """Refuse what only a benchmark dataset can be asked for."""
    flags = [f"--{name}" for name, value in given.items() if value is not None]
    if flags:
        raise ConfigError(
            f"{flags[0]} is for benchmark datasets; {str(data)!r} is none.",
            hint="`fewtune list data` names them.",
        )


def _exists(data: str | Path) -> bool:
    try:
        return Path(data).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # too long, a NUL, or an unknown ~user
        return False


def _looks_like_path(data: str) -> bool:
    if fold(data).startswith(("vtab-", "fewshot-")):
        return False
    return "/" in data or "\\" in data or data.startswith((".", "~")) or "." in data
