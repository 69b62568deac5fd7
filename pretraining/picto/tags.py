"""Words beside the names: aliases, tags and annotations, keyed by the phrase they describe."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from pretraining.picto.names import base_name, phrase
from pretraining.picto.sources import Sources

Tags = dict[str, list[str]]


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _add(tags: defaultdict[str, dict[str, None]], name: str, words: list[str]) -> None:
    key = phrase(name.lower().replace(" ", "-").replace(":", "").replace("_", "-"))
    for word in words:
        text = phrase(base_name(word.lower().replace(" ", "-")))
        if key and text and text != key:
            tags[key][text] = None


def collect_tags(sources: Sources) -> Tags:
    """All tags by phrase, from Material Design Icons, Lucide, Emojibase, CLDR and set aliases."""
    tags: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for entry in _read(sources.npm("mdi") / "meta.json"):
        _add(tags, base_name(entry["name"]), entry["aliases"])
    for name, words in _read(sources.npm("lucide") / "tags.json").items():
        _add(tags, name, words)
    for entry in _read(sources.npm("emojibase") / "en" / "data.json"):
        _add(tags, entry["label"], entry.get("tags", []))
    cldr = _read(sources.npm("cldr") / "annotations" / "en" / "annotations.json")
    for entry in cldr["annotations"]["annotations"].values():
        if "tts" in entry and "default" in entry:
            _add(tags, entry["tts"][0], entry["default"])
    return {key: list(words) for key, words in tags.items()}


def add_aliases(tags: Tags, icons: dict[str, Any]) -> None:
    """Adds the aliases of one icon set: other names of the same drawing."""
    suffixes = icons.get("suffixes", {})
    for alias, entry in icons.get("aliases", {}).items():
        key = phrase(base_name(entry["parent"], suffixes))
        text = phrase(base_name(alias, suffixes))
        if key and text and text != key and text not in tags.setdefault(key, []):
            tags[key].append(text)
