"""Tasks of the study with picto."""

import numpy as np
import pytest

from fewtune.datasets.readers import regenerated as dsprites
from pretraining.picto import tasks
from pretraining.picto.scenes import Scene


def test_images_of_a_class_are_split_without_overlap() -> None:
    images = {
        name: [np.array([number, index], dtype=np.uint8) for index in range(count)]
        for number, (name, count) in enumerate({"a": 200, "b": 90}.items())
    }
    images["b"][40:40] = [images["b"][0], images["a"][0]]  # drawings may agree to the last pixel
    splits = tasks._split(images)
    assert [len(splits[s]["a"]) for s in ("train", "val", "test")] == [64, 16, 120]
    assert [len(splits[s]["b"]) for s in ("train", "val", "test")] == [64, 16, 10]
    together = [pixels.tobytes() for s in splits.values() for of in s.values() for pixels in of]
    assert len(set(together)) == len(together) == 290


def test_scenes_are_of_the_classes_and_pairs_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, count in (("TRAIN", 2), ("VAL", 1), ("TEST", 12)):
        monkeypatch.setattr(tasks, name, count)
    asked: list[Scene] = []

    def held_out(scene: Scene) -> bool:
        if scene.held_out:
            asked.append(scene)
        return scene.held_out

    splits = tasks.scenes(tasks.how_many, held_out)
    assert sorted(splits["train"]) == sorted({tasks.how_many(scene) for scene in asked})
    assert "one shape" in splits["test"]
    assert "six shapes" in splits["test"]
    assert {len(images) for images in splits["train"].values()} == {2}
    picture = splits["train"]["three shapes"][0]
    assert picture.shape == (48, 48, 3)
    assert (picture[0, 0] == 255).all()


def test_sprites_are_named_by_the_classes_of_vtab() -> None:
    factors = dsprites.Factors(shape=0, scale=5, orientation=39, x=31, y=0)
    assert tasks.column(factors) == "a shape at 100 percent from the left"
    assert tasks.turn(factors) == "a shape turned by 360 degrees"
    assert tasks.turn(factors._replace(orientation=2)) == "a shape turned by 0 degrees"
