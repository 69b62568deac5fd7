"""Data findings: problems and oddities of a task's images, worst first."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Any, Literal

from fewtune.core.naming import counted
from fewtune.core.task import Task
from fewtune.data.image_facts import ImageFacts
from fewtune.data.label_table import shown
from fewtune.data.prompt_words import without_words

Level = Literal["error", "warning", "info"]
LEVELS: tuple[Level, ...] = ("error", "warning", "info")

TINY_PX = 8
IMBALANCE_RATIO = 10
# Sensors store 10, 12 or 14 bits in 16; what is darker than this as a whole is no photograph.
LEAST_BITS = 15

# Suffixes of each format; other formats are not judged.
_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "MPO": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "GIF": (".gif",),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
}


@dataclass(frozen=True)
class Finding:
    """One line of a data report.

    Attributes:
        level: "error" (wrong results, or a run that stops), "warning" or "info".
        kind: Short name, stable across releases ("leak").
    """

    level: Level
    kind: str
    message: str
    keys: tuple[str, ...] = ()
    hint: str = ""


@dataclass(frozen=True)
class DataReport:
    """The result of decoding every image of a task once.

    Attributes:
        findings: Errors first, then warnings, then information.
    """

    task: str
    counts: Mapping[str, Mapping[str, int]]
    facts: Mapping[str, ImageFacts]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()

    @property
    def images(self) -> int:
        """Number of images, unreadable ones included."""
        return len(self.facts)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings of level "error"."""
        return tuple(finding for finding in self.findings if finding.level == "error")

    def to_json(self) -> dict[str, Any]:
        """Return counts, findings and notes as JSON values, without the facts of each image."""
        return {
            "task": self.task,
            "images": self.images,
            "counts": {split: dict(counts) for split, counts in self.counts.items()},
            "findings": [asdict(finding) for finding in self.findings],
            "notes": list(self.notes),
        }


def make_report(task: Task, facts: Mapping[str, ImageFacts], shots: int | None) -> DataReport:
    """Judge the facts of a task's images."""
    counts = count(task)
    findings = [
        *_unreadable(facts),
        *_unused_bits(facts),
        *_duplicates(task, facts),
        *name_findings(task),
        *_balance(counts, shots),
        *_oddities(facts),
    ]
    if task.benchmark:
        findings = [_of_benchmark(finding) for finding in findings]
    findings.sort(key=lambda finding: LEVELS.index(finding.level))
    return DataReport(task.name, counts, facts, tuple(findings), task.notes)


def count(task: Task) -> dict[str, dict[str, int]]:
    """Return the number of images by class name, by split; empty splits are left out."""
    counts = {}
    for split, examples in task.splits().items():
        found = Counter(example.label for example in examples)
        if examples:
            counts[split] = {name: found[label] for label, name in enumerate(task.classes.names)}
    return counts


def name_findings(task: Task) -> Iterator[Finding]:
    """Yield a finding if prompts hold numbers or codes in place of words."""
    names = () if task.benchmark else without_words(task.classes)
    if names:
        prompt = task.classes.texts(task.classes.names.index(names[0]))[0]
        yield Finding(
            "warning",
            "no-words",
            f"{counted(len(names), 'class')} named by a number or a code, which "
            f"means nothing to a model ({prompt!r}): {shown(names)}",
            hint="Put names into classnames.txt next to the images or the table: one per line, or "
            "lines 'label<TAB>name'.",
        )


def _unreadable(facts: Mapping[str, ImageFacts]) -> Iterator[Finding]:
    bad = {key: fact.error for key, fact in facts.items() if fact.error is not None}
    yield from _found("unreadable", "image", [f"{k} ({why})" for k, why in bad.items()], bad)


def _unused_bits(facts: Mapping[str, ImageFacts]) -> Iterator[Finding]:
    """Yield a finding if 12 bits are stored in 16, which are read as black.

    One dark image among others says nothing, so the brightest pixel of all decides, and only where
    most images have 16 bits it is an error.
    """
    peaks = {key: fact.peak for key, fact in facts.items() if fact.peak}
    most = max(peaks.values(), default=0)
    if 0 < most < 2**LEAST_BITS:
        used = most.bit_length()
        yield Finding(
            "error" if 2 * len(peaks) >= len(facts) else "warning",
            "unused-bits",
            f"{counted(len(peaks), 'image')} with 16 bits per channel use {used} of them: the "
            f"brightest pixel is {most} of 65535, so they would be black",
            tuple(peaks),
            "Stretch them to the full range first: "
            f"mogrify -evaluate multiply {65535 // (2**used - 1)} {next(iter(peaks))} ...",
        )


def _duplicates(task: Task, facts: Mapping[str, ImageFacts]) -> Iterator[Finding]:
    """Yield a finding for each way in which images have equal pixels."""
    places: dict[str, list[tuple[str, str, int]]] = defaultdict(list)
    for split, examples in task.splits().items():
        for example in examples:
            digest = facts[example.key].digest
            if digest:
                places[digest].append((split, example.key, example.label))
    groups: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for same in places.values():
        if len(same) > 1:
            keys = tuple(key for _, key, _ in same)
            for kind in _kinds_of_duplicate(same):
                groups[kind].append(keys)
    for kind in ("leak", "conflict", "validation-leak", "duplicate"):
        pairs = [" = ".join(keys[:2]) for keys in groups[kind]]
        yield from _found(kind, "picture", pairs, chain(*groups[kind]))


def _found(
    kind: str, noun: str, examples: Sequence[str], keys: Iterable[str] = ()
) -> Iterator[Finding]:
    """Yield a finding of this kind if there are examples of it."""
    if examples:
        level, text, hint = _TEXTS[kind]
        number = counted(len(examples), noun)
        yield Finding(level, kind, f"{number} {text}: {shown(examples)}", tuple(keys), hint)


# Level, text after the number of examples, and hint.
_TEXTS: dict[str, tuple[Level, str, str]] = {
    "unreadable": (
        "error",
        "cannot be read",
        "Replace or remove them; `fit` leaves them out.",
    ),
    "leak": (
        "error",
        "both in the test split and in another",
        "Test scores would count remembered images; `fit` leaves such test images out.",
    ),
    "conflict": ("error", "with different labels", "Correct the labels; one of them is wrong."),
    "validation-leak": (
        "warning",
        "both in the training and in the validation split",
        "Validation scores count remembered images; remove one copy.",
    ),
    "duplicate": ("warning", "more than once in a split", "Remove the copies."),
    "no-training-images": (
        "warning",
        "without training images",
        "Such classes are known by their prompts alone.",
    ),
    "no-test-images": ("warning", "without test images", "Scores say nothing of them."),
    "tiny": (
        "warning",
        f"smaller than {TINY_PX} pixels per side",
        "Little can be seen in them; check where they come from.",
    ),
    "animated": ("info", "with several frames or pages", "The first one is used."),
    "16-bit": ("info", "with 16 bits per channel", "They are scaled to 8 bits."),
    "transparent": (
        "info",
        "with transparency",
        "It is dropped: the colours stored under it show.",
    ),
    "wrong-suffix": (
        "info",
        "named after another format than they have",
        "They are read by content; rename them if other programs shall read them.",
    ),
}


def _of_benchmark(finding: Finding) -> Finding:
    """Return the finding for a benchmark, whose splits must stay as published."""
    if finding.kind not in ("leak", "conflict"):
        return finding
    return replace(
        finding,
        level="warning",
        hint="The benchmark is published like this and kept, so that scores can be compared.",
    )


def _kinds_of_duplicate(same: list[tuple[str, str, int]]) -> Iterator[str]:
    splits = Counter(split for split, _, _ in same)
    if "test" in splits and len(splits) > 1:
        yield "leak"
    if "train" in splits and "val" in splits:
        yield "validation-leak"
    if len({label for _, _, label in same}) > 1:
        yield "conflict"
    if max(splits.values()) > 1:
        yield "duplicate"


def _balance(counts: Mapping[str, Mapping[str, int]], shots: int | None) -> Iterator[Finding]:
    train = counts.get("train", {})
    filled = {name: number for name, number in train.items() if number}
    for split, kind in (("train", "no-training-images"), ("test", "no-test-images")):
        empty = [name for name, number in counts.get(split, {}).items() if not number]
        yield from _found(kind, "class", empty)
    if shots is not None:
        few = [f"{name} ({number})" for name, number in filled.items() if number < shots]
        if few:
            yield Finding(
                "warning",
                "fewer-than-shots",
                f"{counted(len(few), 'class')} with fewer than {counted(shots, 'training image')}: "
                f"{shown(few)}",
                hint="All images of such a class are used.",
            )
    if not filled:
        return
    most, least = max(filled, key=filled.__getitem__), min(filled, key=filled.__getitem__)
    if filled[most] >= IMBALANCE_RATIO * filled[least]:
        yield Finding(
            "warning",
            "imbalance",
            f"Classes differ in size by a factor of {filled[most] / filled[least]:.0f}: "
            f"{most} has {filled[most]:,} training images, {least} has {filled[least]:,}",
            hint="--shots K draws the same number from each class; mean per-class recall is "
            "reported next to accuracy.",
        )


def _oddities(facts: Mapping[str, ImageFacts]) -> Iterator[Finding]:
    """Yield a finding for each unexpected property of single images."""
    odd: dict[str, list[str]] = defaultdict(list)
    for key, fact in facts.items():
        for kind in _oddities_of(key, fact):
            odd[kind].append(key)
    for kind in ("tiny", "animated", "16-bit", "transparent", "wrong-suffix"):
        yield from _found(kind, "image", odd[kind], odd[kind])
    modes = {key: fact.mode for key, fact in facts.items() if fact.mode not in ("", "RGB")}
    if modes:
        common = Counter(modes.values()).most_common()
        kinds = ", ".join(f"{mode} {number:,}" for mode, number in common)
        yield Finding(
            "info",
            "not-rgb",
            f"{counted(len(modes), 'image')} stored in other modes than RGB ({kinds})",
            tuple(modes),
            "They are converted to RGB.",
        )


def _oddities_of(key: str, fact: ImageFacts) -> Iterator[str]:
    if fact.error is not None:
        return
    if min(fact.width, fact.height) < TINY_PX:
        yield "tiny"
    if fact.frames > 1:
        yield "animated"
    if fact.bits == 16:
        yield "16-bit"
    if fact.transparent:
        yield "transparent"
    suffix = "." + key.rpartition(".")[2].lower()
    allowed = _SUFFIXES.get(fact.format, (suffix,))
    # Records of larger files have no suffix of their own.
    if suffix not in allowed and suffix in chain(*_SUFFIXES.values()):
        yield "wrong-suffix"
