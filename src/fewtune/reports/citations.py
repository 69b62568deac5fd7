"""Citations that a run owes, as BibTeX: of FewTune, its method, its backbone and its data."""

import inspect
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fewtune.backbones.model_names import resolve
from fewtune.core.discovery import plugins
from fewtune.core.errors import ConfigError
from fewtune.model.load_strategy import declared_strategy
from fewtune.model.strategy import Strategy

REFERENCES = Path(__file__).parents[1] / "assets" / "references.bib"
FEWTUNE = "fewtune"
# By the organisation that published the weights; every CLIP descends from the first.
BACKBONES = {"openai": "radford2021clip", "facebook": "xu2024metaclip"}

_ENTRY = re.compile(r"^@\w+\{([^,\s]+),.*?^\}", re.MULTILINE | re.DOTALL)


def references() -> dict[str, str]:
    """Return the BibTeX entries that FewTune knows, by key: its own, and its strategies'."""
    cited = (declared_strategy(name).citation for name in plugins("strategies"))
    return entries("\n".join([REFERENCES.read_text(encoding="utf-8"), *cited]))


def entries(text: str) -> dict[str, str]:
    """Return the BibTeX entries of a text, by key; an entry ends with "}" on a line of its own."""
    return {found.group(1): found.group(0) for found in _ENTRY.finditer(text)}


def owed(runs: Iterable[tuple[dict[str, Any], dict[str, Any]]]) -> tuple[str, list[str]]:
    """Return the BibTeX of some runs, each entry once, and what has to be cited but is no BibTeX.

    Args:
        runs: spec.json and task.json of each run.
    """
    known = references()
    keys, words = [FEWTUNE], list[str]()
    given: dict[str, str] = {}
    for spec, task in runs:
        strategy = declared_strategy(spec["strategy"])
        known |= entries(strategy.citation)  # it may be a plug-in
        keys += [strategy.citation_key(), _backbone(spec["backbone"])]
        found = entries(task["citation"])
        given |= found
        if task["citation"] and not found:
            words.append(f"{task['name']}: {task['citation']}")
    chosen = {key: known[key] for key in keys if key in known} | given
    return "\n\n".join(chosen.values()) + "\n", list(dict.fromkeys(words))


def paper_of(kind: type[Strategy]) -> str:
    """Return the reference in words, up to its year; the citation key where there are none.

    It is the second paragraph of the docstring of the strategy's module.
    """
    paragraphs = (inspect.getdoc(sys.modules[kind.__module__]) or "").split("\n\n")
    found = re.match(r".+?\b(19|20)\d\d\b", " ".join(paragraphs[1:2]).replace("\n", " "))
    return found[0] if found else kind.citation_key()


def _backbone(name: str) -> str:
    try:
        publisher = resolve(name).repo.partition("/")[0]
    except ConfigError:  # a folder that was moved since
        publisher = ""
    return BACKBONES.get(publisher, "radford2021clip")
