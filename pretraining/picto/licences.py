"""Which icon sets may be trained on, and the attribution that their licences ask for."""

from typing import Any

ACCEPTED = frozenset(
    {
        "MIT",
        "Apache-2.0",
        "ISC",
        "BSD-3-Clause",
        "CC0-1.0",
        "Unlicense",
        "CC-BY-4.0",
        "CC-BY-3.0",
    }
)
LOGO_CATEGORIES = frozenset({"Logos", "Programming"})
LOGO_SETS = frozenset({"fa-brands", "fa6-brands", "fa7-brands", "flat-ui"})
# Country flags carry codes instead of words.
FLAG_SETS = frozenset({"flag", "circle-flags", "flagpack", "cif"})


def refusal(prefix: str, info: dict[str, Any]) -> str | None:
    """Why a set of `collections.json` is not used, or None when it is."""
    spdx = info.get("license", {}).get("spdx")
    if spdx not in ACCEPTED:
        return f"licence {spdx}"
    if info.get("category") in LOGO_CATEGORIES or prefix in LOGO_SETS:
        return "logos"
    if prefix in FLAG_SETS:
        return "flags"
    return None


def attribution(prefix: str, info: dict[str, Any], icons: int) -> dict[str, Any]:
    """One entry of the attribution list: title, author, licence, addresses, icons used."""
    author, licence = info.get("author", {}), info["license"]
    return {
        "set": prefix,
        "title": info.get("name", prefix),
        "author": author.get("name", ""),
        "url": author.get("url", ""),
        "licence": licence["spdx"],
        "licence_url": licence.get("url", ""),
        "icons": icons,
    }


def sources_text(entries: list[dict[str, Any]]) -> str:
    """The file `SOURCES` of a model folder: every source in two lines, most pictures first."""
    blocks = [SOURCES_HEAD]
    for entry in sorted(entries, key=lambda e: -e.get("icons", 0)):
        by = f", by {entry['author']}" if entry["author"] else ""
        count = f", {entry['icons']} pictures" if entry.get("icons") else ""
        blocks.append(f"{entry['title']} ({entry['set']}){by}{count}\n  {entry['licence']}")
        blocks[-1] += "".join(f", {entry[key]}" for key in ("url", "licence_url") if entry[key])
    return "\n".join(blocks) + "\n"


SOURCES_HEAD = """\
What picto was trained on: title (set), author, pictures used; licence, address, licence text.

Icon sets were taken from the npm package @iconify/json, rendered, shrunk to 48 x 48 pixels and
changed in colour and place. The pictures are not distributed with the weights.
"""

# Sources other than icon sets: words only, but for the clip art.
OTHER_SOURCES = [
    {
        "set": "openclipart-png",
        "title": "Open Clip Art Library 0.18 (Debian package openclipart-png)",
        "author": "contributors of openclipart.org",
        "url": "https://openclipart.org",
        "licence": "LicenseRef-Public-Domain",
        "licence_url": "https://creativecommons.org/licenses/publicdomain/",
    },
    {
        "set": "@mdi/svg",
        "title": "Material Design Icons, names and aliases",
        "author": "Pictogrammers",
        "url": "https://github.com/Templarian/MaterialDesign",
        "licence": "Apache-2.0",
        "licence_url": "https://github.com/Templarian/MaterialDesign/blob/master/LICENSE",
    },
    {
        "set": "lucide-static",
        "title": "Lucide, tags",
        "author": "Lucide contributors",
        "url": "https://lucide.dev",
        "licence": "ISC",
        "licence_url": "https://github.com/lucide-icons/lucide/blob/main/LICENSE",
    },
    {
        "set": "emojibase-data",
        "title": "Emojibase, labels and tags",
        "author": "Miles Johnson",
        "url": "https://emojibase.dev",
        "licence": "MIT",
        "licence_url": "https://github.com/milesj/emojibase/blob/master/LICENSE",
    },
    {
        "set": "cldr-annotations-full",
        "title": "Unicode CLDR, annotations",
        "author": "Unicode, Inc.",
        "url": "https://cldr.unicode.org",
        "licence": "Unicode-3.0",
        "licence_url": "https://www.unicode.org/license.txt",
    },
    {
        "set": "wordnet-base",
        "title": "WordNet 3.0, nouns",
        "author": "Princeton University",
        "url": "https://wordnet.princeton.edu",
        "licence": "WordNet-3.0",
        "licence_url": "https://wordnet.princeton.edu/license-and-commercial-use",
    },
]
