"""Prompt words: what replaces "{}" in "a photo of a {}.", made from the class name.

    n03147509_cup                  cup                       a WordNet number
    001.Black_footed_Albatross     Black_footed_Albatross    a count, if all classes have one
    AnnualCrop                     Annual Crop               words written together

Class names stay as they are. Words that two classes would share are not used.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from fewtune.core.errors import DataError
from fewtune.core.task import ClassSet

_WORDNET = re.compile(r"n\d{8}[ _.-]+(?=\S)")
_COUNT = re.compile(r"(\d+)[ _.)-]+(?=[^\W\d_])")
_WORD_END = re.compile(r"(?<=[a-z][a-z])(?=[A-Z][a-z])")  # not in "iPhone" or "McDonald"

_NUMBER = re.compile(r"-?\d+([.,]\d+)?|n\d{8}")
_WORD = re.compile(r"[^\W_]")
_NUMBERED = re.compile(r"([^\W\d_]+)[ _-]?\d+")  # "class_3", "c7"


def prompt_words(names: Sequence[str]) -> tuple[str, ...]:
    """Return the word of each class for prompts; () if all equal the class names."""
    words = [_WORD_END.sub(" ", _WORDNET.sub("", name, count=1)) for name in _uncounted(names)]
    alike = Counter(map(fold, words))
    words = [w if alike[fold(w)] == 1 else name for w, name in zip(words, names, strict=True)]
    return () if words == list(names) else tuple(words)


def fold(text: str) -> str:
    """Return a text as CLIP's prompts see it: lower case, "_" as spaces."""
    return " ".join(text.lower().replace("_", " ").split())


def refuse_same_prompts(classes: ClassSet) -> None:
    """Refuse classes with the same prompts.

    Raises:
        DataError: Two classes have the same prompts; both are named.
    """
    alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for label, name in enumerate(classes.names):
        alike[tuple(map(fold, classes.texts(label)))].append(name)
    for prompts, names in alike.items():
        if len(names) > 1:
            raise DataError(
                f"Classes {_listed(names)} have the same prompt, {prompts[0]!r}: CLIP makes no "
                "difference between upper and lower case, nor between '_' and a space.",
                hint="If they are one class, give it one name in folders or labels; else write a "
                "line 'label<TAB>name' for each class into classnames.txt.",
            )


def without_words(classes: ClassSet) -> tuple[str, ...]:
    """Return the names of the classes whose prompts have a number or a code instead of words.

    These are numbers, WordNet numbers, names without a letter ("__"), and names that differ only in
    a number ("c0", "c1").
    """
    described = classes.descriptions or ((),) * len(classes)
    words = {
        name: classes.word(label)
        for label, name in enumerate(classes.names)
        if not described[label]
    }
    stems = {match and match[1].lower() for match in map(_NUMBERED.fullmatch, words.values())}
    if len(words) > 1 and len(stems) == 1 and None not in stems:
        return tuple(words)
    return tuple(
        name for name, word in words.items() if _NUMBER.fullmatch(word) or not _WORD.search(word)
    )


def _uncounted(names: Sequence[str]) -> list[str]:
    """Return the names without leading counts, if all have one ("001.Black_footed_Albatross").

    Numbers with a meaning stay: "10_euro" and "50_euro" are not counts.
    """
    found = [_COUNT.match(name) for name in names]
    counts = [match[1] for match in found if match]
    numbers = sorted(map(int, counts))
    padded = len({len(count) for count in counts}) == 1 and any(c.startswith("0") for c in counts)
    in_a_row = numbers in ([*range(len(names))], [*range(1, len(names) + 1)])
    if len(set(numbers)) != len(names) or not (padded or in_a_row):
        return list(names)
    return [_COUNT.sub("", name, count=1) for name in names]


def _listed(names: Sequence[str]) -> str:
    shown = [repr(name) for name in names[:4]]
    return f"{', '.join(shown[:-1])} and {shown[-1]}"
