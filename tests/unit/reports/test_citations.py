"""Every strategy's paper can be cited, and a run owes each entry once."""

from __future__ import annotations

from typing import Any

from fewtune.core.discovery import plugins
from fewtune.model.load_strategy import load_strategy
from fewtune.reports.citations import entries, owed, references


def task(citation: str) -> dict[str, Any]:
    return {"name": "flowers", "citation": citation}


def test_every_strategy_has_an_entry() -> None:
    papers = {load_strategy(name).citation_key() for name in plugins("strategies")}
    assert papers <= set(references())


def test_runs_owe_each_entry_once() -> None:
    specs: list[dict[str, Any]] = [
        {"strategy": "clip-lora", "backbone": "ViT-B16"},
        {"strategy": "clip-lora", "backbone": "MetaCLIP-B16-400M"},
    ]
    data = "@article{nilsback,\n  title = {Flowers},\n}"
    text, words = owed([(specs[0], task(data)), (specs[1], task("A folder of my own"))])
    keys = ["fewtune", "zanella2024cliplora", "radford2021clip", "xu2024metaclip", "nilsback"]
    assert list(entries(text)) == keys
    assert words == ["flowers: A folder of my own"]
