"""What is to be learned: classes and labelled examples.

Everything here is a pure value: no file is opened, no random state is read.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Literal, Protocol, TypeVar, runtime_checkable

from fewtune.core.errors import ConfigError, DataError
from fewtune.core.files import digest
from fewtune.core.naming import counted

DEFAULT_TEMPLATES = ("a photo of a {}.",)

Classes = Literal["all", "base", "new"]
Split = Literal["test", "val"]
Subset = Literal["1000", "800", "full"]  # training images of a VTAB task
PromptSource = Literal[
    "coop", "coop-ensemble", "clip", "clip-benchmark", "clip-lora", "clipfit", "peft4clip"
]


@runtime_checkable
class ImageSource(Protocol):
    """Anything but a plain file that holds one encoded or decoded image."""

    def read(self) -> object:
        """Return encoded bytes, a PIL image or a numpy array (H, W[, C]) of uint8."""


@dataclass(frozen=True)
class Example:
    """One labelled image.

    `key` identifies it within its task ("train/cat/01.jpg") and is what draws and fingerprints
    see; `source` is where its pixels are and takes no part in equality.
    """

    key: str
    label: int
    source: Path | ImageSource = field(compare=False, repr=False)
    size_bytes: int = 0


@dataclass(frozen=True)
class ClassSet:
    """All that a strategy may know of the classes before it sees an image.

    Attributes:
        templates: Prompt templates, each with one "{}" for the class name.
        descriptions: Full prompts per class that replace the templates for that class; an empty
            tuple means "use the templates".
        words: What stands for each class in templates, where it is not the name; may be "".
    """

    names: tuple[str, ...]
    templates: tuple[str, ...] = DEFAULT_TEMPLATES
    descriptions: tuple[tuple[str, ...], ...] = ()
    counts: tuple[int, ...] = ()
    words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        repeated = [name for name, count in Counter(self.names).items() if count > 1]
        if repeated:
            raise DataError(f"Class name {repeated[0]!r} occurs more than once.")
        if any(not name.strip() for name in self.names):
            raise DataError("A class has an empty name.", hint="Give every class a name.")
        if not self.templates:
            raise ConfigError("No prompt template was given.", hint="Try 'a photo of a {}.'.")
        for template in self.templates:
            if template.count("{}") != 1:
                raise ConfigError(
                    f"Template {template!r} must hold '{{}}' exactly once.",
                    hint="For example: 'a photo of a {}.'.",
                )
        for given, what in ((self.descriptions, "descriptions"), (self.words, "words")):
            if given and len(given) != len(self.names):
                raise DataError(
                    f"{counted(len(given), 'class has', 'classes have')} {what}, but there are "
                    f"{len(self.names)}."
                )

    def __len__(self) -> int:
        return len(self.names)

    def texts(self, label: int, templates: Sequence[str] | None = None) -> tuple[str, ...]:
        """Return the prompts of one class: its descriptions, else every template filled in."""
        if self.descriptions and self.descriptions[label]:
            return self.descriptions[label]
        word = self.word(label)
        return tuple(template.replace("{}", word) for template in templates or self.templates)

    def word(self, label: int) -> str:
        """Return what stands for a class in a template."""
        text = (self.words or self.names)[label]
        return " ".join(text.replace("_", " ").split()) if "_" in text else text

    def select(self, labels: Sequence[int]) -> ClassSet:
        """Return the classes with these labels, renumbered in this order."""
        return replace(
            self,
            names=tuple(self.names[i] for i in labels),
            descriptions=tuple(self.descriptions[i] for i in labels) if self.descriptions else (),
            counts=tuple(self.counts[i] for i in labels) if self.counts else (),
            words=tuple(self.words[i] for i in labels) if self.words else (),
        )


@dataclass(frozen=True)
class Support:
    """All that `fit` is given. It has no test split, so no strategy can reach test images.

    Attributes:
        drawn: Images per class that were asked for; None for all.
    """

    classes: ClassSet
    train: tuple[Example, ...]
    val: tuple[Example, ...] = ()
    drawn: int | None = None

    @property
    def shots(self) -> int:
        """Images per class for recipes: `drawn`, else the median of the classes, at most 16."""
        if self.drawn is not None:
            return self.drawn
        counts = Counter(example.label for example in self.train)
        per_class = [counts.get(label, 0) for label in range(len(self.classes))]
        return max(1, min(16, round(median(per_class)))) if per_class else 1


@dataclass(frozen=True)
class PublishedDraw:
    """A few-shot draw that somebody published as a list.

    Attributes:
        train: Keys, in the order of the list; an image may stand in it more than once.
        val: Keys; None where the list names no validation images.
    """

    shots: int
    seed: int
    train: tuple[str, ...]
    val: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Task:
    """A classification task: classes and three disjoint lists of examples.

    The order of the examples is that of the dataset's own lists, on which some papers' draws
    depend.

    Attributes:
        notes: What was done to the data on the way here ("own stratified test split"), for
            records and tables.
        benchmark: Splits are those of a benchmark: nothing is left out of them or set aside.
        whole: What a part of a task was taken from, without test images: shots are drawn there, so
            that half of the classes get the images that a run on all classes gives them.
        scored_on: What the test split is: "val" where validation images took its place.
    """

    name: str
    classes: ClassSet
    train: tuple[Example, ...]
    val: tuple[Example, ...] = ()
    test: tuple[Example, ...] = ()
    licence: str = ""
    citation: str = ""
    notes: tuple[str, ...] = ()
    published: tuple[PublishedDraw, ...] = ()
    benchmark: bool = False
    whole: Task | None = field(default=None, compare=False, repr=False)
    scored_on: Split = "test"

    def __post_init__(self) -> None:
        for split, examples in self.splits().items():
            for example in examples:
                if not 0 <= example.label < len(self.classes):
                    raise DataError(
                        f"{example.key} ({split}) has label {example.label}, but labels run from "
                        f"0 to {len(self.classes) - 1}."
                    )

    def splits(self) -> dict[str, tuple[Example, ...]]:
        """Return the three lists by name."""
        return {"train": self.train, "val": self.val, "test": self.test}

    def require_two_classes(self, hint: str = "") -> None:
        """Refuse to train on one class, or to choose among one: every answer would be right.

        Raises:
            DataError: The task has fewer than two classes.
        """
        if len(self.classes) < 2:
            raise DataError(
                f"Task '{self.name}' has {counted(len(self.classes), 'class')}; a classifier needs "
                "at least 2.",
                hint=hint or "Put each class in a folder of its own: DIR/cat/1.jpg, DIR/dog/2.jpg.",
            )

    def support(self) -> Support:
        """Return what training may see."""
        counts = Counter(example.label for example in self.train)
        per_class = tuple(counts.get(label, 0) for label in range(len(self.classes)))
        return Support(replace(self.classes, counts=per_class), self.train, self.val)

    def fingerprint(self) -> str:
        """Return a hash of class names, prompts, and of key, label and size of every example."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        classes = [self.classes.names, self.classes.templates, self.classes.descriptions]
        return digest(
            [
                [*classes, self.classes.words] if self.classes.words else classes,
                [
                    sorted((example.key, example.label, example.size_bytes) for example in examples)
                    for examples in (self.train, self.val, self.test)
                ],
            ]
        )


class Keyed(Protocol):
    """What can be drawn: anything with the key that decides its place."""

    @property
    def key(self) -> str:
        """Return what identifies it."""


K = TypeVar("K", bound=Keyed)


def draw_order(examples: Iterable[K], seed: int, split: str) -> list[K]:
    """Return the examples in the pseudo-random order that (seed, split) gives them."""

    def rank(example: K) -> bytes:
        return hashlib.sha256(f"{seed}\0{split}\0{example.key}".encode()).digest()

    return sorted(examples, key=rank)


def scored_digest(task: Task) -> str:
    """Return 16 hexadecimal digits that are equal where the same images are scored."""
    return digest(sorted((example.key, example.label) for example in task.test))[:16]
