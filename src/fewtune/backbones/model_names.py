"""The backbones that have a name of their own, and what any other name means.

Licences and parameter counts are facts about the published weights; everything else about a
backbone is read from its files.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fewtune.core.errors import ConfigError, did_you_mean

ASSETS = Path(__file__).parents[1] / "assets"
PICTO, PHOTO = "picto", "photo"
LICENCES = {PICTO: "CC-BY-4.0", PHOTO: "Apache-2.0"}  # of the backbones that come with FewTune
# What a reader of their scores must know.
CAVEATS = {
    PICTO: "This is a pictogram model. The backbone picto is small, comes with FewTune and has "
    "only seen pictograms. What it scores here says nothing about photographs.",
    PHOTO: "This is a small model. The backbone photo comes with FewTune, and what it knows of "
    "images is ImageNet's. What it scores here says nothing about CLIP models trained on the web.",
}

_WEIGHT_SUFFIXES = {".pt", ".pth", ".bin", ".ckpt", ".safetensors"}


@dataclass(frozen=True)
class BackboneSource:
    """Where a backbone is to be looked for.

    Attributes:
        name: Canonical name, as it stands in records.
        kind: "hub" (`repo` is set), "embedded" or "local" (`path` is set).
        licence: Licence of the weights, "" where unknown.
        parameters: Published parameter count, 0 where unknown.
    """

    name: str
    kind: Literal["hub", "embedded", "local"]
    repo: str = ""
    path: Path = Path()
    licence: str = ""
    parameters: int = 0


def _published(name: str, repo: str, parameters: int, licence: str) -> BackboneSource:
    return BackboneSource(name, "hub", repo, licence=licence, parameters=parameters)


_B32, _B16, _L14 = 151_277_313, 149_620_737, 427_616_513

CATALOG = (
    _published("ViT-B32", "openai/clip-vit-base-patch32", _B32, "MIT"),
    _published("ViT-B16", "openai/clip-vit-base-patch16", _B16, "MIT"),
    _published("ViT-L14", "openai/clip-vit-large-patch14", _L14, "MIT"),
    _published("MetaCLIP-B32-400M", "facebook/metaclip-b32-400m", _B32, "CC-BY-NC-4.0"),
    _published("MetaCLIP-B32-2.5B", "facebook/metaclip-b32-fullcc2.5b", _B32, "CC-BY-NC-4.0"),
    _published("MetaCLIP-B16-400M", "facebook/metaclip-b16-400m", _B16, "CC-BY-NC-4.0"),
    _published("MetaCLIP-B16-2.5B", "facebook/metaclip-b16-fullcc2.5b", _B16, "CC-BY-NC-4.0"),
)


def backbone_names() -> tuple[str, ...]:
    """Return every short name, the embedded backbones last."""
    return (*(entry.name for entry in CATALOG), *LICENCES)


def resolve(name: str) -> BackboneSource:
    """Return where the backbone called `name` is to be found; opens no file.

    What is written as a path and exists is that folder or file. Then come short names (in any case;
    "-", "_" and "/" are alike: "vit_b16", "ViT-B/16"), other existing folders and files, and
    "org/model" as an id on the Hugging Face hub.

    Raises:
        ConfigError: `name` is none of these.
    """
    path = Path(name).expanduser()
    if re.search(r"[/\\]|^[.~]", name) and path.exists():
        return BackboneSource(name, "local", path=path)
    folded = _fold(name)
    if folded in LICENCES:
        return BackboneSource(folded, "embedded", path=ASSETS / folded, licence=LICENCES[folded])
    for entry in CATALOG:
        if folded == _fold(entry.name) or name == entry.repo:
            return entry
    if name and path.exists():
        return BackboneSource(name, "local", path=path)
    if re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name) and path.suffix not in _WEIGHT_SUFFIXES:
        return BackboneSource(name, "hub", repo=name)
    if path.suffix in _WEIGHT_SUFFIXES or "/" in name or "\\" in name:
        raise ConfigError(
            f"Backbone '{name}' looks like a path, but there is no such file or folder.",
            hint="Give an existing folder or file, a hub id such as 'openai/clip-vit-base-patch16'"
            f", or one of: {', '.join(backbone_names())}.",
        )
    raise ConfigError(
        f"There is no backbone named '{name}'.",
        hint=did_you_mean(name, backbone_names())
        + " A folder with a CLIPModel or a hub id such as 'org/model' works too.",
    )


def _fold(name: str) -> str:
    """Return `name` without case, separators and dots."""
    return re.sub(r"[-_/. ]", "", name).lower()
