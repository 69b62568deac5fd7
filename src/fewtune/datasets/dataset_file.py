"""Dataset files: from `vtab/dtd.toml` to a `Dataset`.

Next to the fields of `Dataset` a file has

    summary = "..."             first line of the file, shown in lists of datasets
    like = "vtab/dtd"           dataset whose facts (`SHARED`) stand in for missing ones
    coop = {template = "..."}   prompts of CoOp, CLIP-LoRA and CLIPFit
    [[prompts]]                 prompts of other sources: sources, templates, names
    [[readers]]                 a reader: its kind (`READERS`) and its fields

Class names and templates are lists, or the name of a list in `classes/`. Downloads are tables, or
paths of files in `published_files.toml`.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from fewtune.core.errors import ConfigError, did_you_mean
from fewtune.core.task import PromptSource
from fewtune.data.text_files import read_lines, read_text
from fewtune.datasets.declaration import Dataset, PromptSet, Reader
from fewtune.datasets.readers.coop_folders import Aircraft, ZhouSplit
from fewtune.datasets.readers.imagenet_folders import ImageNet, ImageNetVariant
from fewtune.datasets.readers.noah import NoahLists
from fewtune.datasets.readers.original_files import (
    AuthorsArchive,
    Caltech101,
    OriginalFiles,
    Sun397,
)
from fewtune.datasets.readers.regenerated import RegeneratedDSprites
from fewtune.datasets.readers.tfds import Tfds
from fewtune.datasets.readers.vtab_lists import VtabLists
from fewtune.datasets.readers.webdataset import WebDataset

HERE = Path(__file__).parent
SHARED = ("licence", "homepage", "citation", "classes", "sizes", "coop", "prompts")
READERS: Mapping[str, type[Reader]] = {
    "aircraft": Aircraft,
    "authors-archive": AuthorsArchive,
    "caltech101": Caltech101,
    "imagenet": ImageNet,
    "imagenet-variant": ImageNetVariant,
    "noah": NoahLists,
    "original-files": OriginalFiles,
    "regenerated-dsprites": RegeneratedDSprites,
    "sun397": Sun397,
    "tfds": Tfds,
    "vtab-lists": VtabLists,
    "webdataset": WebDataset,
    "zhou": ZhouSplit,
}
PHOTO = "a photo of a {}."
STRICT = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


@dataclass(frozen=True)
class Coop:
    """The template and the class names of CoOp."""

    template: str
    names: dict[str, str] = field(default_factory=dict)

    def prompt_sets(self) -> dict[PromptSource, PromptSet]:
        """Return the prompts of CoOp, CLIP-LoRA and CLIPFit.

        CoOp and CLIPFit have a template for each dataset (another one for textures alone),
        CLIP-LoRA one for everything. All use the class names of CoOp's split files. CoOp's
        ensemble, also that of Tip-Adapter on ImageNet, has the dataset's template too.
        """
        own = PromptSet((self.template,), self.names)
        ensemble = dict.fromkeys((*listed("coop_templates"), self.template))
        ensemble.pop(PHOTO, None)
        return {
            "coop": own,
            "coop-ensemble": PromptSet(tuple(ensemble), self.names),
            "clip-lora": PromptSet((PHOTO,), self.names),
            "clipfit": own,
        }


@dataclass(frozen=True)
class PromptTable:
    """A table `[[prompts]]`: the prompts of some sources.

    Attributes:
        names: Names by class; or a list for all classes in label order, or its name.
    """

    sources: tuple[PromptSource, ...]
    templates: tuple[str, ...] | str
    names: dict[str, str] | tuple[str, ...] | str = field(default_factory=dict)

    def prompt_sets(self, classes: Sequence[str]) -> dict[PromptSource, PromptSet]:
        """Return the same prompts for each source."""
        names = self.names
        if not isinstance(names, dict):
            given = listed(names)
            if len(given) != len(classes):
                raise ValueError(f"prompts have {len(given)} names for {len(classes)} classes")
            pairs = zip(classes, given, strict=True)
            names = {known: name for known, name in pairs if name != known.replace("_", " ")}
        return dict.fromkeys(self.sources, PromptSet(listed(self.templates), names))


def listed(names: str | Sequence[str]) -> tuple[str, ...]:
    """Return a list, or the lines of the list of this name in `classes/`, without WordNet ids.

    Raises:
        DataError: There is no such list.
    """
    if isinstance(names, str):
        lines = read_lines(HERE / "classes" / f"{names}.txt")
        return tuple(re.sub(r"^n\d{8} ", "", line) for line in lines)
    return tuple(names)


def read_dataset(path: Path) -> Dataset:
    """Return the dataset of a file.

    Raises:
        ConfigError: It is not TOML, a key is unknown or missing, or a value is not valid.
        DataError: There is no list or dataset of a name in it.
    """
    try:
        values = _read(path)
        for key, read in (("classes", listed), ("readers", _readers), ("downloads", _downloads)):
            if key in values:
                values[key] = tuple(read(values[key]))
        values["prompt_sets"] = _prompt_sets(values)
        fields = {key: values[key] for key in values if key not in ("summary", "coop", "prompts")}
        dataset: Dataset = _checked(Dataset, fields)
    except ValueError as error:
        raise ConfigError(f"{path}: {_reason(error)}.") from error
    return dataset


def _prompt_sets(values: dict[str, Any]) -> dict[PromptSource, PromptSet]:
    found: dict[PromptSource, PromptSet] = {}
    if "coop" in values:
        found |= _checked(Coop, values["coop"]).prompt_sets()
    for table in values.get("prompts", ()):
        found |= _checked(PromptTable, table).prompt_sets(values.get("classes", ()))
    return found


def _readers(tables: Sequence[dict[str, Any]]) -> Iterator[Reader]:
    for table in tables:
        kind = str(table.get("kind"))
        if kind not in READERS:
            raise ValueError(f"there is no reader of kind {kind!r}. {did_you_mean(kind, READERS)}")
        yield _checked(READERS[kind], {key: table[key] for key in table if key != "kind"})


def _downloads(items: Sequence[str | dict[str, Any]]) -> Iterator[dict[str, Any]]:
    files = _published_files()
    for item in items:
        if isinstance(item, str) and item not in files:
            raise ValueError(f"published_files.toml has no {item!r}. {did_you_mean(item, files)}")
        yield {"path": item, **files[item]} if isinstance(item, str) else item


@cache
def _published_files() -> dict[str, Any]:
    return _read(HERE / "published_files.toml")


def _read(path: Path) -> dict[str, Any]:
    """Return what a file says, and what the dataset says that it is like."""
    values = tomllib.loads(read_text(path))
    if "like" not in values:
        return values
    other = _read(HERE / f"{values.pop('like').replace('-', '_')}.toml")
    return {key: other[key] for key in SHARED if key in other} | values


def _checked(kind: Any, values: dict[str, Any]) -> Any:
    """Return the instance of a dataclass with these values, checked by pydantic."""
    return _adapter(kind).validate_python([values])[0]


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    # A plain dataclass takes the configuration of the list that contains it.
    return TypeAdapter(list[kind], config=STRICT)


def _reason(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error).rstrip(".")
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"][1:]))
    if first["type"] == "missing":
        return f"{place} is missing"
    said = first["msg"].removeprefix("Value error, ")
    return f"{place}: {said}; found {first['input']!r}"
