"""Features of the embedded models: as pinned when their weights were exported.

`python -m pretraining.photo export` and `python -m pretraining.picto export` renew the pins.
"""

import json
from pathlib import Path
from types import ModuleType

import pytest
import torch

import pretraining.photo.pins
import pretraining.picto.pins

ASSETS = Path(__file__).parents[2] / "src" / "fewtune" / "assets"


@pytest.mark.parametrize(
    ("name", "pins"), [("photo", pretraining.photo.pins), ("picto", pretraining.picto.pins)]
)
def test_features_of_three_images_and_five_texts_are_as_pinned(name: str, pins: ModuleType) -> None:
    found = pins.pinned_features(ASSETS / name)
    pinned = json.loads(Path(__file__).with_name(f"{name}_pins.json").read_text(encoding="utf-8"))
    assert (len(pinned["images"]), len(pinned["texts"])) == (3, 5)
    for kind, expected in pinned.items():
        torch.testing.assert_close(
            torch.tensor(found[kind]), torch.tensor(expected), atol=2e-3, rtol=0
        )
