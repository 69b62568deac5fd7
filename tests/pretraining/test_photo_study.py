"""Tasks of the study on photographs: splits without overlap, verified file by file."""

import json
from pathlib import Path

import pytest

from fixtures import write_image
from pretraining.photo import study


def test_own_splits_do_not_overlap_and_keep_their_sizes(tmp_path: Path) -> None:
    for digit in range(len(study.DIGITS)):
        for number in range(study.TRAIN + study.VAL + 3):
            path = tmp_path / "Dataset" / str(digit) / f"{number}.JPG"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    splits = study.sign_digits(tmp_path)
    sizes = {split: len(rows) for split, rows in splits.items()}
    assert sizes == {"train": 10 * study.TRAIN, "val": 10 * study.VAL, "test": 30}
    assert len({path for rows in splits.values() for path, _ in rows}) == sum(sizes.values())
    assert splits == study.sign_digits(tmp_path)


def test_pets_keep_their_official_test_images(tmp_path: Path) -> None:
    lists = {"trainval": range(20), "test": range(20, 25)}
    for name, numbers in lists.items():
        path = tmp_path / "annotations" / f"{name}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(f"Maine_Coon_{n} 21 1 9\n" for n in numbers), encoding="utf-8")
    splits = study.pets(tmp_path)
    assert splits["test"] == [(f"images/Maine_Coon_{n}.jpg", "maine coon") for n in lists["test"]]
    assert [len(splits[split]) for split in ("train", "val")] == [4, study.VAL]


def test_changed_images_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    image = photos / "caltech101" / "101_ObjectCategories" / "crab" / "1.jpg"
    write_image(image)
    rows = [["crab/1.jpg", 0, "crab"]]
    split = photos / "caltech101-split" / "split_zhou_Caltech101.json"
    split.parent.mkdir()
    split.write_text(json.dumps({"train": rows, "val": [], "test": []}), encoding="utf-8")
    write_image(photos / "toys" / "ball.png")

    def toys(folder: Path) -> study.Splits:
        return {"train": [("ball.png", "ball")], "val": [], "test": []}

    monkeypatch.setattr(study, "TASKS", {"toys": ("toys", toys)})
    monkeypatch.setattr(study, "PINNED", tmp_path / "pinned.json")
    found = {
        "caltech101": study.facts(json.loads(split.read_text(encoding="utf-8")), image.parents[1]),
        "toys": study.facts({**toys(photos), "train": [["ball.png", 0, "ball"]]}, photos / "toys"),
    }
    study.PINNED.write_text(json.dumps(found), encoding="utf-8")
    study.write_tasks(tmp_path)
    assert "toys: 1 / 0 / 0, as in the study" in capsys.readouterr().out
    tasks = tmp_path / "tasks"
    assert (tasks / "caltech-101" / "101_ObjectCategories" / "crab" / "1.jpg").is_file()
    assert (tasks / "toys" / "images" / "ball.png").is_file()
    (photos / "toys" / "ball.png").write_bytes(b"another")
    with pytest.raises(SystemExit, match="study was run on: toys"):
        study.write_tasks(tmp_path)
