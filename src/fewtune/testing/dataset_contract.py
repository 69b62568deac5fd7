"""The contract of declared datasets; its checks need no image and no network."""

import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

from fewtune.core.task import ClassSet, PromptSource
from fewtune.data.file_names import SPLITS
from fewtune.datasets.declaration import Dataset, Group, PromptSet
from fewtune.datasets.loading import words

NOWHERE = Path("no-such-folder")
REQUIRED = ("title", "author", "year")


def check_dataset(dataset: Dataset) -> None:
    """Check a declaration.

    Raises:
        AssertionError: It breaks the contract; the message says how.
    """
    _check_facts(dataset)
    _check_classes(dataset)
    assert dataset.default_prompts in dataset.prompt_sets, "the default prompts are not among them"
    for source, prompt_set in dataset.prompt_sets.items():
        assert source in get_args(PromptSource), f"{source} is no prompt source"
        _check_prompt_set(dataset, prompt_set, source)
    for reader in dataset.readers:
        assert reader.layout, "a reader does not name its layout"
        reader.find(NOWHERE)  # nothing there is no error


def bibtex(text: str) -> dict[str, str]:
    """Return the fields of a BibTeX entry, and its key as "key".

    Raises:
        AssertionError: It is no entry, or its braces do not match.
    """
    found = re.fullmatch(r"@\w+\{([\w:.-]+),\s*(.*)\}", text.strip(), re.DOTALL)
    assert found, f"not a BibTeX entry: {text[:40]!r}"
    fields, rest = {"key": found[1]}, found[2].strip()
    while rest:
        opened = re.match(r"(\w+)\s*=\s*\{", rest)
        assert opened, f"not a BibTeX field: {rest[:40]!r}"
        depth, end = 1, opened.end()
        while depth:
            assert end < len(rest), f"the braces of {opened[1]} do not match"
            depth += {"{": 1, "}": -1}.get(rest[end], 0)
            end += 1
        fields[opened[1].lower()] = rest[opened.end() : end - 1]
        rest = rest[end:].lstrip().removeprefix(",").lstrip()
    return fields


def require_bibtex(text: str) -> None:
    """Check that a citation can be printed.

    Raises:
        AssertionError: It is no BibTeX entry, or it lacks a title, an author or a year.
    """
    missing = [field for field in REQUIRED if not bibtex(text).get(field)]
    assert not missing, f"the citation has no {', '.join(missing)}"


def _check_facts(dataset: Dataset) -> None:
    assert dataset.title, "no title"
    assert dataset.licence, "no licence"
    assert dataset.group in get_args(Group), f"{dataset.group!r} is no group"
    assert dataset.homepage.startswith(("http://", "https://")), "no homepage"
    require_bibtex(dataset.citation)
    assert set(dataset.sizes) == set(SPLITS), "sizes are those of train, val and test"
    assert min(dataset.sizes.values()) >= 0, "a size is below 0"
    assert dataset.sizes["test"] >= len(dataset.classes), "fewer test images than classes"


def _check_classes(dataset: Dataset) -> None:
    names = dataset.classes
    assert len(names) > 1, "a classifier needs two classes"
    assert len(set(names)) == len(names), "two classes have one name"
    assert all(name.strip() == name != "" for name in names), "a name is empty or has loose spaces"


def _check_prompt_set(dataset: Dataset, prompt_set: PromptSet, source: str) -> None:
    """Check that every class is worded, by its name whatever its place."""
    stray = prompt_set.names.keys() - set(dataset.classes)
    assert not stray, f"{source} words classes that are not there: {sorted(stray)[:3]}"
    templates = prompt_set.templates
    assert len(set(templates)) == len(templates), f"{source} has a template twice"
    classes = ClassSet(dataset.classes, templates, words=words(dataset, prompt_set))
    turned = replace(dataset, classes=dataset.classes[::-1])
    mirrored = ClassSet(turned.classes, templates, words=words(turned, prompt_set))
    for label, name in enumerate(dataset.classes):
        texts = classes.texts(label)
        word = prompt_set.names.get(name, name).replace("_", " ")
        expected = tuple(template.replace("{}", word) for template in templates)
        assert texts == expected, f"the texts of {name} must be {expected}, found {texts}"
        assert texts == mirrored.texts(len(classes) - 1 - label), f"{name} is worded by its place"
        bare = [text for text in texts if not text.strip() or "{}" in text]
        assert not bare, f"{name} has an empty text, or one with {{}} left in it: {bare}"
