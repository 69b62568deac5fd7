"""10,000 classes: read, checked, scored and reported in seconds, without a quadratic step."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

import fewtune
from fewtune.core.files import read_json
from fewtune.testing import tiny_clip_folder
from fixtures import picture

CLASSES = 10_000
MOST_PX = 3000  # of a picture that a person opens


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images of each class, of 4 x 4 pixels."""
    root = tmp_path_factory.mktemp("many") / "things"
    for label in range(CLASSES):
        folder = root / f"thing {label}"
        folder.mkdir(parents=True)
        for index in range(2):
            picture((label, index), (4, 4)).save(folder / f"{index}.bmp")
    return root


@pytest.mark.slow
def test_ten_thousand_classes_are_read_scored_and_reported(images: Path, tmp_path: Path) -> None:
    backbone = tiny_clip_folder(tmp_path / "clip")
    settings = {"backbone": str(backbone), "precision": "fp32", "runs": tmp_path / "runs"}
    result = fewtune.fit(images, "zero-shot", **settings)
    record = read_json(result.folder / "record.json")
    assert len(record["task"]["classes"]) == len(record["per_class"]) == CLASSES
    assert record["task"]["images"] == {"train": CLASSES, "val": 0, "test": CLASSES}

    card = (result.folder / "README.md").read_text(encoding="utf-8")
    assert "10,000 classes: " in card
    assert len(card) < 10_000
    with Image.open(result.folder / "summary.png") as drawn:
        assert max(drawn.size) < MOST_PX

    page = fewtune.report(tmp_path / "runs", tmp_path / "report")
    assert page.stat().st_size < 2_000_000
    found = fewtune.predict(result.folder, [str(images / "thing 7" / "0.bmp")], top=3)
    assert len(found[0].top) == 3
