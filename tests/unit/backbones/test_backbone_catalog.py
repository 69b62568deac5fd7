"""Names of backbones and what they mean."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from fewtune.backbones.model_names import CATALOG, backbone_names, resolve
from fewtune.core.errors import ConfigError


@pytest.mark.parametrize(
    "spelling", ["ViT-B16", "vit-b16", "VIT_B16", "ViT-B/16", "openai/clip-vit-base-patch16"]
)
def test_spellings_of_one_checkpoint_are_one_name(spelling: str) -> None:
    source = resolve(spelling)
    assert (source.name, source.repo, source.licence) == (
        "ViT-B16",
        "openai/clip-vit-base-patch16",
        "MIT",
    )


def test_metaclip_names_keep_their_data_apart() -> None:
    assert resolve("metaclip-b16-2.5b").repo == "facebook/metaclip-b16-fullcc2.5b"
    assert resolve("metaclip_b16_400m").repo == "facebook/metaclip-b16-400m"
    assert resolve("MetaCLIP-B32-2.5B").licence == "CC-BY-NC-4.0"


def test_picto_and_photo_are_embedded() -> None:
    source = resolve("Picto")
    assert source.kind == "embedded"
    assert source.path.parts[-3:] == ("fewtune", "assets", "picto")
    assert backbone_names()[-2:] == ("picto", "photo")


def test_other_names_are_paths_or_hub_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert (resolve("org/model.v2").kind, resolve("org/model.v2").repo) == ("hub", "org/model.v2")
    (tmp_path / "org" / "model.v2").mkdir(parents=True)
    assert (resolve("org/model.v2").kind, resolve("org/model.v2").name) == ("local", "org/model.v2")


@pytest.mark.parametrize("name", ["./picto", "./ViT-B-16", "models/ViT-B16", "ViT-B/16"])
def test_what_is_written_as_a_path_and_exists_is_that_path(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir(parents=True)
    assert (resolve(name).kind, resolve(name).path) == ("local", Path(name))
    assert resolve(str(Path(name).absolute())).path == Path(name).absolute()
    assert resolve("picto").kind == "embedded"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ViT-B17", "Did you mean 'ViT-B16'?"),
        ("resnet", "Known: .*picto"),
        ("", "no backbone named ''"),
        ("./nowhere", "no such file or folder"),
        ("models/clip.pt", "no such file or folder"),
        ("a/b/c", "no such file or folder"),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(name)


def test_published_parameter_counts_follow_from_the_sizes() -> None:
    large = {
        "vision_config": {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "patch_size": 14,
        },
        "text_config": {
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_attention_heads": 12,
        },
        "projection_dim": 768,
    }
    for entry in CATALOG:
        patch = {"vision_config": {"patch_size": 32 if "B32" in entry.name else 16}}
        with torch.device("meta"):
            model = CLIPModel(CLIPConfig(**(large if "L14" in entry.name else patch)))
        assert sum(p.numel() for p in model.parameters()) == entry.parameters
