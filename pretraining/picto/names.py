"""From an icon's name to its words: style suffixes, brands, lemmas."""

import re
from collections.abc import Iterable

STYLE_WORDS = frozenset(
    "outline outlined outlines filled fill bold thin light regular solid line linear duotone duo"
    " twotone two tone sharp rounded alt alternate variant broken stroke flat color colored glyph"
    " twotoned micro mini remix pixel pop print pencil plump flex freehand ios md baseline inverse"
    " negative expressive block cyber ultimate kameleon icon icons logo symbol simple monotone"
    " a b c d e f g h i j k l m n o p q r s t u v w y z".split()
)
STOP_WORDS = frozenset(
    "the of and with in on for to from at an by or off no not o'clock s one three four five".split()
)
_SKIN = re.compile(r"-(medium-light|medium-dark|light|medium|dark)(-skin-tone)?$")
_SIZE = re.compile(r"-?\d+(px)?$")


def base_name(name: str, suffixes: Iterable[str] = ()) -> str:
    """The name without the style suffixes that its set declares and without numbers at the end.

    Variants of one drawing share a base name.
    """
    base = name.lower()
    for suffix in sorted(filter(None, suffixes), key=len, reverse=True):
        if base.endswith(f"-{suffix}"):
            base = base.removesuffix(f"-{suffix}")
            break
    while True:
        parts = base.split("-")
        if len(parts) > 1 and parts[-1] in STYLE_WORDS:
            base = "-".join(parts[:-1])
        elif len(parts) > 1 and parts[0] in {"outline", "baseline", "round", "sharp", "twotone"}:
            base = "-".join(parts[1:])
        elif _SIZE.search(base) and _SIZE.sub("", base):
            base = _SIZE.sub("", base)
        else:
            return base


def is_skin_tone(name: str) -> bool:
    """Whether an emoji repeats another one in a skin colour."""
    return "skin-tone" in name or bool(_SKIN.search(name) and name.count("-") > 1)


def phrase(base: str) -> str:
    """A base name as text, without style words: `shoe-running-outline` is "shoe running"."""
    words = [w for w in re.split(r"[-_ ]+", base) if w]
    kept = [w for w in words if w not in STYLE_WORDS and not w.isdigit()]
    return " ".join(kept)


def content_words(text: str) -> list[str]:
    """The words of a phrase that name something, in order, each once."""
    words = re.findall(r"[a-z][a-z']+", text.lower())
    return list(dict.fromkeys(w for w in words if w not in STOP_WORDS and w not in STYLE_WORDS))


class BrandFilter:
    """Finds brand names, given the names of logo sets and a dictionary of ordinary words."""

    # Brands that are also words: dropped from sets that carry other logos.
    AMBIGUOUS = frozenset(
        "apple windows amazon shell target chrome edge safari slack discord messenger signal steam"
        " oracle docker opera sketch puma dell visa gap ford subway uber stripe box unity".split()
    )

    def __init__(self, logo_names: Iterable[str], dictionary: Iterable[str]) -> None:
        """`logo_names` are names of logo sets; words of `dictionary` are never brands alone."""
        ordinary = set(dictionary)
        slugs = {name.replace("-", "") for name in logo_names}
        self.slugs = {s for s in slugs if len(s) >= 4 and s not in ordinary}

    def is_brand(self, base: str) -> bool:
        """Whether a word of the name, or the whole name, is a brand."""
        parts = base.split("-")
        if {"logo", "logos", "brand", "brands"} & set(parts):
            return True
        return base.replace("-", "") in self.slugs or any(part in self.slugs for part in parts)

    def keep(self, bases: Iterable[str]) -> set[str]:
        """The base names of one set that are not brands."""
        names = set(bases)
        kept = {name for name in names if not self.is_brand(name)}
        if len(names) - len(kept) >= 5:
            kept -= self.AMBIGUOUS
        return kept
