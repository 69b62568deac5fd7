"""Tiny random CLIPs and the folders and caches they lie in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from clip_builders import COMMIT, tiny_config, write_clip
from transformers import CLIPModel


@pytest.fixture(scope="session")
def tiny_model() -> CLIPModel:
    torch.manual_seed(0)
    return CLIPModel(tiny_config()).eval()


@pytest.fixture
def clip_folder(tmp_path: Path, tiny_model: CLIPModel) -> Path:
    return write_clip(tmp_path / "clip", tiny_model)


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, without network."""
    cache = tmp_path / "hub"
    cache.mkdir()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return cache


@pytest.fixture
def cached(hub_cache: Path) -> Callable[..., Path]:
    """Return a function that makes an empty snapshot in the cache's real layout."""

    def make(repo: str, commit: str = COMMIT, *, main: bool = True) -> Path:
        root = hub_cache / ("models--" + repo.replace("/", "--"))
        snapshot = root / "snapshots" / commit
        snapshot.mkdir(parents=True)
        if main:
            (root / "refs").mkdir(exist_ok=True)
            (root / "refs" / "main").write_text(commit)
        return snapshot

    return make
