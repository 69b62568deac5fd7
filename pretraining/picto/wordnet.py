"""A small reader of the WordNet noun files: lemma, gloss, synonyms, hypernyms and hyponyms."""

from dataclasses import dataclass, field
from pathlib import Path

# Lexicographer files whose first senses can be drawn.
CONCRETE_FILES = {
    5: "animal",
    6: "artifact",
    8: "body",
    13: "food",
    17: "object",
    18: "person",
    19: "phenomenon",
    20: "plant",
}
LIVING_FILES = (5, 20)


def _is_latin(name: str, synonym: bool) -> bool:
    """Whether a plant's or animal's name is its scientific one, which is never named first."""
    return name.startswith("genus ") or (synonym and name[0].isupper())


@dataclass(frozen=True)
class Synset:
    """One sense: its words, the number of its lexicographer file, its neighbours, its meaning."""

    words: tuple[str, ...]
    file: int
    hypernyms: tuple[int, ...]
    hyponyms: tuple[int, ...]
    gloss: str = ""


@dataclass
class WordNet:
    """Nouns by lemma (spaces between words), senses ordered by frequency."""

    synsets: dict[int, Synset] = field(default_factory=dict)
    senses: dict[str, tuple[int, ...]] = field(default_factory=dict)
    common: set[str] = field(default_factory=set)  # neither proper names nor Latin ones

    @classmethod
    def read(cls, folder: Path) -> "WordNet":
        """Reads `data.noun` and `index.noun` of WordNet 3.0."""
        net = cls()
        for line in (folder / "data.noun").read_text(encoding="ascii").splitlines():
            if not line.startswith(" "):
                head, _, gloss = line.partition(" | ")
                net._add_synset(head.split(), gloss.split(";")[0].strip())
        for line in (folder / "index.noun").read_text(encoding="ascii").splitlines():
            if not line.startswith(" "):
                parts = line.split()
                offsets = parts[-int(parts[2]) :]
                net.senses[parts[0].replace("_", " ")] = tuple(int(o) for o in offsets)
        return net

    def _add_synset(self, parts: list[str], gloss: str) -> None:
        count = int(parts[3], 16)
        written = [parts[4 + 2 * i].replace("_", " ") for i in range(count)]
        words = tuple(word.lower() for word in written)
        self.common |= {
            word.lower()
            for place, word in enumerate(written)
            if not word.istitle()
            and not (int(parts[1]) in LIVING_FILES and _is_latin(word, bool(place)))
        }
        at = 4 + 2 * count
        pointers = [parts[at + 1 + 4 * i : at + 5 + 4 * i] for i in range(int(parts[at]))]
        nouns = [(symbol, int(offset)) for symbol, offset, kind, _ in pointers if kind == "n"]
        self.synsets[int(parts[0])] = Synset(
            words,
            int(parts[1]),
            tuple(offset for symbol, offset in nouns if symbol == "@"),
            tuple(offset for symbol, offset in nouns if symbol == "~"),
            gloss,
        )

    def lemma(self, word: str) -> str:
        """The singular of a plural noun where WordNet has it, else the word itself."""
        if word in self.senses and not word.endswith("s"):
            return word
        for ending, stem in (("ies", "y"), ("es", ""), ("s", "")):
            if word.endswith(ending) and len(word) > len(ending) + 2:
                single = word.removesuffix(ending) + stem
                if single in self.senses and not single.endswith("s"):
                    return single
        return word

    def concrete(self, noun: str) -> Synset | None:
        """The most frequent sense of `noun` if it is something that can be drawn."""
        senses = self.senses.get(noun)
        if not senses:
            return None
        first = self.synsets[senses[0]]
        return first if first.file in CONCRETE_FILES else None

    def related(self, noun: str) -> dict[str, list[str]]:
        """Words near the first, concrete sense: `same` (synonyms), `wider`, `narrower`."""
        synset = self.concrete(noun)
        if synset is None:
            return {}
        wider = [w for o in synset.hypernyms for w in self.synsets[o].words]
        narrower = [w for o in synset.hyponyms for w in self.synsets[o].words[:2]]
        found = {
            "same": [w for w in synset.words if w != noun],
            "wider": wider[:3],
            "narrower": narrower[:12],
        }
        return {key: words for key, words in found.items() if words}
