"""Declarations of benchmark datasets: everything but the pixels.

A declaration is a TOML file (`fewtune.datasets.dataset_file`) with a dataset's classes, the prompts
of papers, and a reader for each form in which people have it on disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from fewtune.core.task import PromptSource as PromptSource
from fewtune.core.task import Subset as Subset
from fewtune.data.label_table import LabelTable

Group = Literal["natural", "specialised", "structured", "few-shot", "domain-shift", "sample"]


@dataclass(frozen=True)
class PromptSet:
    """The prompts of one source for the classes of a dataset.

    Attributes:
        templates: Prompt templates, each with one "{}"; the first is the one to use where a single
            template is asked for.
        names: What fills the template, by the dataset's own class name (never by index, since
            sources list classes in different orders). A class that is missing keeps its name; ""
            is a name too.
    """

    templates: tuple[str, ...]
    names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Download:
    """A file that the authors of a dataset, or a mirror of theirs, publish.

    Attributes:
        path: Where it is put, relative to the root of all datasets ("dtd/dtd-r1.0.1.tar.gz").
        size_bytes: Its size; None where nobody has published it.
        checksum: "sha256:..." or "md5:..."; empty where nobody has published one.
        unpack: Folder, relative to the root, into which the archive is unpacked; None keeps it.
        inner: Archives within it, relative to `unpack`, that are unpacked where they lie.
    """

    url: str
    path: str
    size_bytes: int | None = None
    checksum: str = ""
    unpack: str | None = None
    inner: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shards:
    """A webdataset repository of the Hugging Face Hub: tar files by split, and class names.

    It is put into a folder below the root that has the repository's own name ("wds_vtab-dtd").

    Attributes:
        repo: "clip-benchmark/wds_vtab-dtd".
        size_bytes: Size of all tar files; None where it is not known.
    """

    repo: str
    splits: tuple[str, ...] = ("train", "test")
    size_bytes: int | None = None


@runtime_checkable
class Reader(Protocol):
    """One form in which one dataset lies on disk."""

    @property
    def layout(self) -> str:
        """The form, for people ("VTAB-1k list folder")."""

    def find(self, root: Path) -> Path | None:
        """Return where the dataset lies below `root` in this form, if it does; opens no image."""

    def read(self, location: Path, dataset: Dataset, subset: Subset) -> LabelTable:
        """Return the rows of the dataset, their class names taken from `dataset.classes`.

        Args:
            subset: "1000": train and val are VTAB-1k's 1,000 training images and nothing; "800":
                800 and 200; "full": the whole splits. Datasets outside VTAB know "full" alone.

        Raises:
            DataError: Something is missing, damaged, or labelled out of range.
        """


@dataclass(frozen=True)
class Dataset:
    """A declaration.

    Attributes:
        title: Name in tables and documentation.
        classes: Class names in label order, distinct and not empty.
        sizes: Images of the full splits ("train", "val", "test").
        other_sizes: Sizes of other versions that are in use and as good, by split.
        prompt_sets: Templates and class names of papers, by source.
        readers: The forms it is read from, the most trustworthy first.
        default_prompts: The source that is used where none is asked for.
        label_rule: How labels come from annotations, in a sentence; empty where they are given.
        notes: What every table that shows it must say ("class order unproven").
        by_hand: What cannot be downloaded by a program: page and expected files; empty otherwise.
        downloads: What `fewtune data download` fetches so that one of the readers finds it.
    """

    title: str
    group: Group
    licence: str
    citation: str
    homepage: str
    classes: tuple[str, ...]
    sizes: Mapping[str, int]
    prompt_sets: Mapping[PromptSource, PromptSet]
    readers: tuple[Reader, ...]
    default_prompts: PromptSource
    aliases: tuple[str, ...] = ()
    label_rule: str = ""
    notes: tuple[str, ...] = ()
    by_hand: str = ""
    downloads: tuple[Download | Shards, ...] = ()
    other_sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def has_size(self, split: str, images: int) -> bool:
        """Return whether a whole split may have this number of images."""
        return images in (self.sizes.get(split, images), *self.other_sizes.get(split, ()))
